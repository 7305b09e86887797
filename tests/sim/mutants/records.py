"""Rules broken on purpose: which records are made, and which are left alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rollover.core import changes, machine, view
from rollover.core.tlsa import EMPTY
from rollover.core.view import View
from rollover.engine import look, run
from tests.sim import names
from tests.sim.mutants.registry import mutant, nothing


@mutant("the gate of every update is open")
def _(patch: Any) -> None:
    patch.setattr(machine, "safe", lambda view, change: True)
    patch.setattr(View, "in_use", lambda self, owner: ())
    patch.setattr(View, "lingering", lambda self: ())


@mutant("what is served and lacks its record is not protected")
def _(patch: Any) -> None:
    patch.setattr(machine, "protecting", nothing)


@mutant("somebody else's combination gets no record", "foreign record")
def _(patch: Any) -> None:
    whole = changes.needed
    for module in (changes, view):
        patch.setattr(module, "needed", lambda chain, rrset, params: whole(chain, EMPTY, params or ((3, 1, 1),)))


@mutant("records of others are withdrawn too", "foreign record")
def _(patch: Any) -> None:
    def withdrawing(it: View, owner: Any) -> Any:
        return changes._without(it, owner, changes._current(owner) or EMPTY)

    patch.setattr(machine, "withdrawing", withdrawing)


@mutant("only the goal keeps its record")
def _(patch: Any) -> None:
    patch.setattr(machine, "safe", lambda view, change: True)
    patch.setattr(View, "in_use", lambda self, owner: (self.world.goal.chain,) if self.world.goal is not None else ())


@mutant("other services at the owner are forgotten", "two owners, one target")
def _(patch: Any) -> None:
    whole = look.Looker.world

    def world(self: Any, *args: Any, **kwargs: Any) -> Any:
        return replace(whole(self, *args, **kwargs), others={}, strangers={})

    patch.setattr(look.Looker, "world", world)


@mutant("nobody looks at the neighbours before a withdrawal", "two owners, one target")
def _(patch: Any) -> None:
    patch.setattr(run, "beside", lambda *_: [])


@mutant("DANE that somebody switched off is switched on again", "somebody deletes all")
def _(patch: Any) -> None:
    for module in (changes, machine):
        patch.setattr(module, "switched_off", lambda view, owner: False)


@mutant("an update does not ask for the wildcard that it copies", "wildcard", "somebody deletes all")
def _(patch: Any) -> None:
    whole = names.prerequisites
    patch.setattr(names, "prerequisites", lambda change: whole(change)[:1])


@mutant("an update is applied whatever is there by now", "meanwhile")
def _(patch: Any) -> None:
    patch.setattr(names, "prerequisites", lambda change: [])
