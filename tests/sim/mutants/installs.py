"""Rules broken on purpose: installing, proving, going back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rollover.core import goals, machine
from rollover.core.view import View
from tests.sim.mutants.registry import mutant, nothing


@mutant("what fails is not taken back", "deploy what does not work")
def _(patch: Any) -> None:
    patch.setattr(machine, "judge", nothing)


@mutant("a return is made again and again", "deploy what does not work")
def _(patch: Any) -> None:
    whole = goals.take_return
    patch.setattr(goals, "take_return", lambda *args: replace(whole(*args), return_spent=False))


@mutant("what fails is the goal again", "deploy what does not work")
def _(patch: Any) -> None:
    whole = goals.take_return
    patch.setattr(goals, "take_return", lambda book, fingerprint, why: whole(book, book.goal, why))


@mutant("a reload that one address did not hear is not repeated", "deaf to a reload")
def _(patch: Any) -> None:
    patch.setattr(machine, "LONGEST_RELOAD_INTERVAL", 1e12)
    patch.setattr(machine, "elapsed_boot", lambda since, now: 0.0)


@mutant("a reload of another file counts")
def _(patch: Any) -> None:
    patch.setattr(View, "reload_recorded", lambda self, live: live.path in self.world.book.reloads)


@mutant("a live file is never compared with the goal")
def _(patch: Any) -> None:
    patch.setattr(View, "live_is", lambda self, live, goal: True)


@mutant("proven in no round")
def _(patch: Any) -> None:
    patch.setattr(machine, "verify", nothing)
    patch.setattr(View, "proven", lambda self, goal: self.loaded(goal))
    patch.setattr(View, "presentable", lambda self, owner: ())
    patch.setattr(View, "lingering", lambda self: ())
