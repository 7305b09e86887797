"""What a command costs as a whole process: `tests/lab/enter .venv/bin/python -m tests.bench`.

Prints the median and the worst wall time of each command, its processor time and largest resident size, on the lab's
real servers: with one service; then with fifty, five years of history, and one secondary dead. Each
service has a lineage that `advance` looks at. The aims stand beside: deploy ≤ 1.5 s, status and
advance with nothing due ≤ 0.7 s, ≤ 100 MB. A run with an exit code that was not expected is no
figure: it ends the benchmark with what the command said.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rollover.core.model import Standing, State
from rollover.state.store import Store
from tests.lab import Lab

ROUNDS = 9
SERVICES = 50
YEARS = 5
RENEWALS_A_YEAR = 8
EVENTS_A_RENEWAL = 12
DUE = timedelta(minutes=55)  # within check_every: what is due later than that was planned by a wrong clock


@dataclass(frozen=True)
class Cost:
    """Seconds and bytes of one run."""

    seconds: float
    cpu: float
    resident: int
    code: int


def measure(lab: Lab, *words: str, expected: tuple[int, ...] = (0,)) -> Cost:
    """Run the tool as a process of its own and return what it cost; end here if it did not do its work."""
    command = [str(Path(sys.prefix) / "bin/rollover"), "--config", str(lab.config_file), *words]
    with tempfile.TemporaryFile("w+") as said:
        started = time.monotonic()
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in expected:
            said.seek(0)
            sys.exit(f"rollover {' '.join(words)} exited {process.returncode}, not {expected}:\n{said.read()}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, process.returncode)


def tell(what: str, aim: float, costs: list[Cost]) -> None:
    """Print one line of figures."""
    seconds = sorted(c.seconds for c in costs)
    codes = ",".join(map(str, sorted({c.code for c in costs})))
    resident = max(c.resident for c in costs) / 1e6
    print(
        f"{what:<44} median {statistics.median(seconds):5.2f} s  worst {seconds[-1]:5.2f} s  (aim {aim:.1f} s)  cpu {statistics.median(c.cpu for c in costs):5.2f} s"
        f"  {resident:4.0f} MB  exit {codes}  n={len(costs)}",
        flush=True,
    )


def deploys(lab: Lab) -> list[Cost]:
    """Return what handing over new certificates costs, each published at once."""
    costs = []
    for _ in range(ROUNDS):
        new = lab.certificate()
        costs.append(measure(lab, "deploy", str(new.fullchain), str(new.privkey), "--service", "mail"))
        time.sleep(2.1)  # updates of one zone are two seconds apart
    return costs


def lineage_of(lab: Lab, name: str) -> Path:
    """Return the directory of a service's lineage; it holds what the service serves."""
    directory = lab.directory / "lineages" / name
    if not directory.exists():
        directory.mkdir(parents=True)
        for path in (lab.old.fullchain, lab.old.privkey):
            shutil.copy(path, directory)
    return directory


def fill(lab: Lab, names: list[str]) -> None:
    """Give every service five years of history, and a report of a moment ago."""
    store = Store.open(lab.state_directory / "rollover.db")
    model_book, model_report = store.book("mail"), store.report("mail")
    assert model_report is not None
    now = datetime.now(UTC)
    with store.transaction():
        for name in names:
            standings = dict(model_book.standings)
            for number in range(YEARS * RENEWALS_A_YEAR):
                standings[f"{number:064x}"] = Standing(
                    State.REMOVED, since={"removed": now - timedelta(days=45 * number + 1)}
                )
            store.save_book(name, replace(model_book, standings=standings))
            store.save_report(name, {**model_report, "name": name}, now + DUE)
            for number in range(YEARS * RENEWALS_A_YEAR * EVENTS_A_RENEWAL):
                at = now - timedelta(days=365 * YEARS) + timedelta(hours=number * 90)
                store.event(name, "phase", f"event {number} of a long history", at, number=number)
    store.close()


def main() -> None:
    """Print the figures."""
    with Lab(ttl=20, senders=False) as lab:
        lab.configure(check_every="1h", retain="1h", source=str(lineage_of(lab, "mail")))
        lab.rollover("adopt", "mail", check=0)
        print("one service, every server well")
        tell("  status", 0.7, [measure(lab, "status") for _ in range(ROUNDS)])
        tell("  advance, nothing due", 0.7, [measure(lab, "advance") for _ in range(ROUNDS)])
        tell("  deploy to return", 1.5, deploys(lab))
        names = ["mail", *(f"service{n:02}" for n in range(1, SERVICES))]
        services = {
            name: {
                "hosts": ["mail.example.test"] if name == "mail" else [f"{name}.example.test"],
                "ports": [25],
                "trust": str(lab.trust_file),
                "source": str(lineage_of(lab, name)),
                "check_every": "1h",
                "retain": "1h",
                "install": [
                    {
                        "kind": "postfix",
                        "chain_file": f"{lab.chain_file}" if name == "mail" else f"{lab.chain_file.parent}/{name}.pem",
                        "config_directory": str(lab.mx.config_directory),
                    }
                ],
            }
            for name in names
        }
        lab.configure(services=services)
        fill(lab, names)
        lab.secondary.kill()
        events = YEARS * RENEWALS_A_YEAR * EVENTS_A_RENEWAL * SERVICES
        size = (lab.state_directory / "rollover.db").stat().st_size / 1e6
        print(f"{SERVICES} services, {events} events ({size:.0f} MB), the secondary dead")
        tell("  status", 0.7, [measure(lab, "status") for _ in range(ROUNDS)])
        tell("  advance, nothing due", 0.7, [measure(lab, "advance") for _ in range(ROUNDS)])
        tell("  deploy to return", 1.5, deploys(lab))


if __name__ == "__main__":
    main()
