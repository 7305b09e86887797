"""`kill -9` in what a person does beside a rollover: pause and resume, and the files that ACME client and systemd read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollover.units import UNITS
from tests.lab import Lab
from tests.rollover.driving import left_by_advance, nothing_deferred, steady_mail
from tests.rollover.points import effect_of
from tests.rollover.scene import Kills, Scene, ticked
from tests.rollover.tracing import COMMIT, choose, killed_at, trace

BOOTED = Path("/run/systemd/system")
HOOKS = Path("/etc/letsencrypt/renewal-hooks")
HOOK = HOOKS / "deploy/rollover"
UNIT_FILES = Path("/etc/systemd/system")
Files = dict[Path, tuple[bytes, int]]  # content and mode


@pytest.mark.lab(ttl=2)
def test_a_pause_and_its_end_killed_at_any_call_are_made_by_the_next(
    lab: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    """Given again, `pause` and `resume` end as if they had lived; in between the tick goes on as it was told last."""
    lab.configure(check_every="1m")
    lab.rollover("adopt", "mail", check=0)
    with steady_mail(lab):
        for command, phase in (("pause", "paused"), ("resume", "steady")):
            scene = Scene(lab)
            found = trace(lab, command, "mail")
            assert found.done.returncode == 0, found.done.stderr
            assert COMMIT in map(effect_of, found.points), found.points

            def again(command: str = command, phase: str = phase) -> None:
                ticked(lab)
                assert left_by_advance()["phase"] in {"paused", "steady"}
                lab.rollover(command, "mail")
                ticked(lab)
                assert left_by_advance()["phase"] == phase

            Kills(command, scene, found, (command, "mail")).try_all(again, capfd, at_least=2)
    nothing_deferred(lab)


@pytest.fixture
def booted() -> Iterator[None]:
    """A host on which systemd runs, as far as sd_booted(3) can tell; its systemctl finds nobody to talk to."""
    BOOTED.mkdir(parents=True)
    yield
    BOOTED.rmdir()


def _ours() -> Files:
    """Return every file of ours where certbot and systemd look, and every left-over of one."""
    found = [p for d in (HOOK.parent, UNIT_FILES) for p in d.glob("*") if "rollover" in p.name]
    return {path: (path.read_bytes(), path.stat().st_mode) for path in found if path.is_file()}


def _put(files: Files) -> None:
    """Let *files* be there, and no other one of ours."""
    for path in _ours():
        path.unlink()
    for path, (content, mode) in files.items():
        path.write_bytes(content)
        path.chmod(mode)


@pytest.mark.lab(ttl=5, senders=False)
def test_a_hook_is_whole_or_not_there(lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    """Wherever its installation dies certbot finds no half of it, and the next try leaves what one that lived leaves."""
    watched = {str(HOOKS.parent.resolve()): "certbot"}
    whole = _killed_everywhere(lab, ("hook", "install", "certbot"), watched, capfd, exits=0)
    assert list(whole) == [HOOK]
    assert _killed_everywhere(lab, ("hook", "remove", "certbot"), watched, capfd, exits=0) == {}


@pytest.mark.lab(ttl=5, senders=False)
def test_units_are_whole_or_not_there(lab: Lab, booted: None, capfd: pytest.CaptureFixture[str]) -> None:
    """The same of the four units; that nobody could be told of them is exit 73, and they are there."""
    watched = {str(UNIT_FILES): "units"}
    whole = _killed_everywhere(lab, ("units", "install"), watched, capfd, exits=73)
    assert sorted(whole) == sorted(UNIT_FILES / unit for unit in UNITS)
    BOOTED.rmdir()  # another init has come: there is nobody to be told
    assert _killed_everywhere(lab, ("units", "remove"), watched, capfd, exits=0) == {}
    BOOTED.mkdir()


def _killed_everywhere(
    lab: Lab, words: tuple[str, ...], places: dict[str, str], capfd: pytest.CaptureFixture[str], *, exits: int
) -> Files:
    """Kill *words* at every point, each time from what is there now; return what a run that lived leaves, as they do."""
    before, made = _ours(), [d for d in (HOOK.parent, HOOKS) if not d.exists()]
    found = trace(lab, *words, places=places)
    assert found.done.returncode == exits, found.done.stderr
    after = _ours()
    targets = choose(found.points)
    for point, side in targets:
        _put(before)
        for directory in made:
            if directory.exists():
                directory.rmdir()
        end = killed_at(lab, [(point, side)], found, *words)
        assert end.fired == (point, side), end
        left = {p: it for p, it in _ours().items() if not p.name.endswith("~")}
        assert set(left.items()) <= set(before.items()) | set(after.items()), f"killed {side} {point}"
        lab.rollover(*words, check=exits)
        assert _ours() == after, f"killed {side} {point}"
    with capfd.disabled():
        print(f"\nkilled: {' '.join(words)}: {len(targets)} kills", file=sys.stderr, flush=True)
    assert len(targets) >= 2 * max(len(before), len(after))
    return after
