"""The eighty faults of a DANE rollover, and the table docs/faults.md of the tests that inject each of them.

    python -m tests.faults            # writes docs/faults.md
    python -m tests.faults --check    # fails if it is not what would be written

A test that injects exactly that fault, and fails when the reaction is taken out, carries
`@pytest.mark.fault(17)`. The markers are read from the source, nothing is run.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "docs" / "faults.md"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: *what* goes wrong, the safe *reaction*, and where it is coded.

    *by*: "module.function" or "module.Class.method" below rollover/, several by commas. *waits*: the capability that it belongs
    to and that does not exist yet; what is tested then is that it is refused, or held back safely, and named.
    """

    what: str
    reaction: str
    by: str
    waits: str = ""


@dataclass(frozen=True, slots=True)
class Marked:
    """One test with a marker; *path* is relative to the repository, *within* the class that it is in, if any."""

    path: str
    name: str
    numbers: tuple[int, ...]
    within: str = ""

    @property
    def id(self) -> str:
        """What pytest calls it."""
        return "::".join(filter(None, (self.path, self.within, self.name)))

    @property
    def where(self) -> str:
        """Against what it runs."""
        if self.path.startswith("tests/unit/"):
            return "the core alone" if "/core/" in self.path else "no servers"
        if Path(self.path).stem in SCRIPTED:
            return "a scripted server"
        return "the system" if Path(self.path).stem in HOST else "real servers"


# Files below tests/servers whose other side is a script, and those that need no server but the real kernel.
SCRIPTED = frozenset({"test_dns_junk", "test_mail_junk"})
HOST = frozenset({"test_mail_livefile", "test_hooks", "test_units_command"})

FAULTS: dict[int, Fault] = {
    # --- publication
    1: Fault("A CNAME stands at the owner; BIND answers NOERROR and adds nothing.", "The update demands that there is none; it fails as a whole, and the CNAME's target is managed.", "dns.update._require"),
    2: Fault("A limit such as TLSA(1) drops a record under NOERROR.", "Read back: critical, blocked, nothing installed.", "dns.update.read_back, core.gates.propagate"),
    3: Fault("The server changes the TTL that was sent.", "What is read back is kept; the TTL from before is waited for.", "dns.update.read_back, core.changes.publishing"),
    4: Fault("The answer to an update is lost after it was applied.", "Read back: done; no second update.", "engine.effects.perform"),
    5: Fault("An update is lost before it is applied.", "Read back: unchanged; the same update again.", "engine.effects.perform"),
    6: Fault("A signed update arrives a second time.", "Its prerequisite, the exact RRset, does not hold any more.", "dns.update._require"),
    7: Fault("Somebody edits the RRset between look and update.", "The prerequisite fails; looked at and decided anew.", "dns.update._require"),
    8: Fault("The zone is frozen.", "Told with its hint, tried at every tick, goes on by itself after the thaw.", "dns.update.update, engine.effects.perform"),
    9: Fault("The key has no grant for the owner.", "Told with the grant word for word, by check too; nothing else changes.", "dns.update.update, dns.update.try_grant"),
    10: Fault("TSIG: wrong secret, unknown key, other algorithm.", "Each is its own problem with its own hint.", "dns.conversation.tsig_error"),
    11: Fault("The clocks of the two hosts differ beyond the fudge.", "Critical; every wait stands still.", "dns.conversation.tsig_error, core.gates.wait"),
    12: Fault("The primary answers SERVFAIL to an update.", "Read back, tried again later; the old state stands.", "dns.update.update"),
    13: Fault("The primary is down.", "Named; nothing is installed or withdrawn until it is back.", "core.servers.incomplete, core.machine.withdraw"),
    14: Fault("The zone moved, or a cut appears between host and owner.", "Who has the name is found anew; without our primary nothing goes on.", "dns.conversation._Talk.ask, core.gates.propagate"),
    15: Fault("The update is taken, and the signer cannot sign it.", "What is not served signed is not published; nothing is installed.", "dns.update.read_back, core.gates.propagate"),
    16: Fault("The primary shows another view than the public servers.", "Every public server has to have it: never installed, named.", "core.servers.lacking, core.servers.incomplete"),
    17: Fault("A zone from a backup comes back in the middle of the wait.", "Published again, waited for from the start.", "core.changes.publishing, core.ledger.observe"),
    18: Fault("Somebody deletes the record of what is served.", "Put back at the next tick, before all else.", "core.changes.protecting"),
    19: Fault("Somebody changes the TTL in the middle of the wait.", "Each RRset is waited for with the largest TTL it was seen with.", "core.ledger.observe"),
    20: Fault("A TTL of nothing, or of more than a day.", "min_wait is the floor; check warns of both.", "core.ledger.Patience.span, engine.check._records"),
    # --- propagation
    21: Fault("A secondary is late for hours.", "Waited for, however long; a warning after propagation_warn.", "core.servers.incomplete, core.gates.propagate"),
    22: Fault("A secondary is dead, lame, or answers errors.", "Not reached is not well: holds back, named; `ignore` leaves it out, with an end.", "core.servers.incomplete"),
    23: Fault("A server shows the old RRset again.", "That RRset is not gone; its wait starts over.", "core.ledger.observe"),
    24: Fault("The right RRset under missing, expired or wrong signatures.", "Critical, and as good as no answer.", "core.servers.badly_signed"),
    25: Fault("The signatures are about to end: the signer has stopped.", "Critical; no install and no withdrawal within an hour and a TTL of the end.", "core.servers.running_out"),
    26: Fault("The delegation and the zone name different servers; a new one joins during the wait.", "All of both are asked, at every look.", "dns.hop.Hop._ask, dns.servers.Finder.public_servers"),
    27: Fault("The DS goes, or the zone is not signed any more.", "Critical; nothing is installed where the resolver does not authenticate.", "core.gates._resolver_holds"),
    28: Fault("A server says NXDOMAIN to the empty name above the owner.", "It is not well: resolvers that minimise names find nothing there.", "dns.conversation.interpret"),
    29: Fault("A name server's IPv6 address cannot be reached from here.", "Unknown is not well; IPv4 does not stand for it.", "core.servers.incomplete"),
    30: Fault("The answer is too large for a datagram.", "Asked again over TCP.", "dns.transport.ask"),
    31: Fault("A malformed record of somebody else is in the RRset.", "Read tolerantly, kept octet by octet, named; removed only if a person names it.", "dns.records.tlsa_rrset, engine.check._records"),
    32: Fault("The owner is a CNAME: sound, a loop, dangling, or into a zone without a key.", "Managed at its target with the largest TTL of the way, or blocked in words.", "dns.authoritative.look, core.gates.propagate"),
    33: Fault("Somebody retargets the CNAME in the middle of the wait.", "Published at the new target, waited for from the start.", "core.changes.publishing, core.ledger.wait_left"),
    34: Fault("The served record comes from a wildcard.", "The first record at the owner takes what the wildcard gave along; one high above is a person's.", "core.changes.publishing, core.changes.shadowing"),
    35: Fault("Two names share one RRset through CNAMEs.", "What either presents counts; withdrawn when all have switched.", "core.changes.withdrawing, core.view.View.guarded"),
    # --- certificates
    36: Fault("Key and certificate do not belong together.", "Refused; what is served stays.", "core.certificate.check"),
    37: Fault("Another name, expired, not yet valid, a chain with a gap.", "Refused, though a 3 1 1 would match.", "core.certificate.check"),
    38: Fault("The new certificate has the old key.", "Nothing to publish, nothing to wait for: installed at once.", "core.ledger.wait_left"),
    39: Fault("The key was revoked.", "Refused with 65, and never published.", "engine.refuse.refuse, core.changes.protecting"),
    40: Fault("The key type changes, or a second algorithm appears.", "A new key like any other; two at once are refused unless each is a service.", "core.machine.publish, mail.postfix.Postfix.current_chain"),
    41: Fault("The lineage is half-written.", "Not parsed, not taken; tried again at the next tick.", "engine.intake.scan_sources"),
    42: Fault("A second renewal comes while the first waits or is installed.", "Let finish or replaced by what is ready first; queued while an install is open.", "core.goals.deploy"),
    43: Fault("A staging certificate.", "A chain that this host does not trust does not replace one that it does.", "engine.refuse._refuse_untrusted"),
    44: Fault("The CA revokes the certificate in the middle of the wait.", "A certificate with the next, already published key at once.", "config.models.ServiceConfig", waits="standby keys, orders of its own (ARI), `emergency`"),
    45: Fault("The served certificate expires before the next can be ready.", "A warning early on; the wait is not shortened.", "core.troubles._certificates, core.gates.wait"),
    46: Fault("The lineage is deleted or renamed.", "What is served stays; a warning until it is back.", "engine.intake.scan_sources"),
    # --- install
    47: Fault("No room, read-only, or an I/O error at the live file.", "The old file stays whole; critical, tried again.", "mail.livefile.install"),
    48: Fault("Killed between rename and reload.", "Loaded and proven at the next tick.", "core.machine.install"),
    49: Fault("Killed at any other call.", "The next tick ends as if it had lived.", "engine.effects.perform, engine.cutoff.close_cut_off"),
    50: Fault("The state is damaged, of another version, or gone.", "Nothing is done but told; adopt starts anew.", "state.database.Database.open, state.codec.book_in"),
    51: Fault("Postfix is down at the reload.", "Critical; the new file stays, both records stay.", "mail.postfix.Postfix.reload"),
    52: Fault("The reload succeeds and TLS does not.", "After verify_timeout the old certificate is back; both records stay.", "core.machine.judge"),
    53: Fault("A process goes on with the old certificate after the reload.", "Not active: the old record stays, loaded again, critical.", "core.view.View.proven, core.machine.install"),
    54: Fault("A service of master.cf, or another instance, has another file.", "Named before the install; while it shows the old certificate its record stays.", "mail.postfix.Postfix.wiring, core.view.View.proven"),
    55: Fault("An SNI table holds a copy of the old certificate.", "Refused by name at adopt, check and install; one that comes later keeps the old record.", "mail.postfix.Postfix.wiring, mail.postfix.Postfix.current_chain", waits="SNI tables (`tls_server_sni_maps`)"),
    56: Fault("Port 25 is postscreen and tlsproxy.", "Their files count too; the late greeting is waited for.", "mail.mastercf.Instance.tls_services, mail.dialogue.Smtp"),
    57: Fault("A backend behind a load balancer has the old certificate.", "All chains of all connections to all addresses count.", "core.view.View.proven"),
    58: Fault("Only the IPv6 address serves another certificate.", "Each address is an endpoint; never any for all.", "core.view.View.proven"),
    59: Fault("The endpoint cannot be probed from here.", "Nothing is withdrawn; named.", "core.memory.remember", waits="an external probe command"),
    60: Fault("Something on the way strips STARTTLS.", "No TLS is a failure, never a success.", "mail.probe.probe, core.view.View.failing"),
    61: Fault("The live directory cannot be written, or Postfix cannot see it.", "Before: critical, the old stays; after: taken back.", "mail.livefile.install, core.machine.judge"),
    62: Fault("Links, or directories that others may write, on the way to the key.", "Refused; no key is written there.", "mail.livefile.install"),
    63: Fault("A crash leaves a temporary file with a key.", "0600, and swept by the next install; nobody else's.", "mail.livefile.install"),
    # --- concurrency, time, host
    64: Fault("Two runs at once, or two hosts.", "One lock here; the exact RRset as prerequisite there.", "state.lock.locked, dns.update._require"),
    65: Fault("The holder of the lock is killed.", "The kernel frees it; the next run goes on.", "state.lock.locked"),
    66: Fault("The clock jumps.", "The primary's clock and the boot-time clock have to agree; a future instant starts over.", "core.timing.elapsed, core.gates.wait"),
    67: Fault("A reboot in the middle of the wait.", "Only a wall clock that the primary confirms counts across it.", "core.timing.elapsed"),
    68: Fault("The tool did not run for weeks.", "Everything is looked at anew; an old ledger alone installs nothing.", "core.ledger.observe, core.gates.propagate"),
    69: Fault("An old state directory comes back.", "Levels, not steps: what is seen decides, nothing that is served loses its record.", "core.machine.decide, core.changes.protecting"),
    70: Fault("Another host of the zone has its own records, of the same key even.", "Per owner: never touched.", "core.changes.withdrawing"),
    71: Fault("Hostile PATH, umask, locale and variables in a hook.", "A clean environment for everything that is run.", "mail.run.run"),
    72: Fault("Output, alerts and status file all fail.", "What is due is done; nothing stops between intent and effect.", "engine.status.publish_status, engine.alert.raise_alerts"),
    # --- retire and roll back
    73: Fault("Rollback after the record is gone.", "Published and waited for, or refused if it cannot be served.", "core.goals.rollback"),
    74: Fault("Rollback while the record is there.", "Reinstalled and proven at once.", "core.goals.rollback, core.gates.propagate"),
    75: Fault("The withdrawal, or its answer, is lost.", "Read back; tried again, or done.", "engine.effects.perform"),
    76: Fault("After the end a server comes back with an old copy.", "Both records: harmless. The old one alone: critical, named.", "core.troubles._deferred"),
    77: Fault("After the end something shows the old certificate.", "Its record is back within one tick.", "core.changes.protecting"),
    78: Fault("TLSRPT tells of failures after the switch.", "Raised, with the rollback that is still possible.", "config.models.Config", waits="reading TLSRPT"),
    79: Fault("The old key cannot be destroyed.", "A warning; never in the way.", "state.vault.Vault.has_key", waits="destroying keys that are out of use"),
    80: Fault("The tool is taken away.", "Postfix has its parameters back, DNS a record that matches.", "engine.release.release"),
}  # fmt: skip


def marked(root: Path = ROOT) -> Iterator[Marked]:
    """Yield each test below *root*/tests that carries a fault marker, in the order of the files."""
    for path in sorted((root / "tests").rglob("test_*.py")):
        text = path.read_text()
        if "mark.fault(" not in text:
            continue
        body = ast.parse(text).body
        classes = {"": body} | {node.name: node.body for node in body if isinstance(node, ast.ClassDef)}
        for within, nodes in classes.items():
            for node in nodes:
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (numbers := _numbers(node)):
                    yield Marked(str(path.relative_to(root)), node.name, numbers, within)


def _numbers(node: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[int, ...]:
    return tuple(
        argument.value
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.fault"
        for argument in decorator.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, int)
    )


def table(tests: list[Marked]) -> str:
    """Return the content of docs/faults.md."""
    by_number = {n: [t for t in tests if n in t.numbers] for n in FAULTS}
    real = sum(any(t.where in {"real servers", "the system"} for t in found) for found in by_number.values())
    waiting = sum(bool(f.waits) for f in FAULTS.values())
    lines = [
        "# The eighty faults",
        "",
        "Made by `python -m tests.faults` from the markers on the tests; do not edit. Each test named here injects",
        "exactly that fault, and fails when the reaction, in the function named, is taken out: `tests/reactions/run` takes it",
        "out of the tool, by one or more names for each fault, and sees every test of it fail.",
        "",
        f"{len(FAULTS)} faults, {len(tests)} tests; {real} are shown on real servers or the real system. {waiting} belong to a capability that does not",
        "exist yet: what is tested there is that it is refused, or held back safely, by name.",
        "",
        "| | fault | reaction | in | tests | on |",
        "|---|---|---|---|---|---|",
    ]
    for number, fault in FAULTS.items():
        found = by_number[number]
        waits = f" **Waits for: {fault.waits}.**" if fault.waits else ""
        names = "<br>".join(f"{t.path.removeprefix('tests/')}: {t.name.removeprefix('test_')}" for t in found)
        where = ", ".join(sorted({t.where for t in found}))
        by = "<br>".join(f"`{x}`" for x in fault.by.split(", "))
        lines.append(f"| {number} | {fault.what} | {fault.reaction}{waits} | {by} | {names} | {where} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Write the table, or with --check compare it."""
    text = table(list(marked()))
    if "--check" in arguments:
        return 0 if TABLE.exists() and TABLE.read_text() == text else 1
    TABLE.write_text(text)
    print(f"{TABLE.relative_to(ROOT)}: {len(FAULTS)} faults")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
