"""Everything that can happen in the small world: the tool's one decision with its effect, and all that others do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import NamedTuple

from rollover.core import goals
from rollover.core.ledger import intend, settle
from rollover.core.machine import decide
from rollover.core.memory import remember, remember_owners
from rollover.core.model import Book, Reload, World
from rollover.core.sighting import Sighting
from rollover.core.steps import Activate, Install, Rest, SetGoal, Update
from rollover.core.steps import Reload as ReloadStep
from tests.exhaustive.relative import MAY_LAND, NEW, OLD, older
from tests.exhaustive.scene import FINGERPRINTS, MASKS, Memory, Scene
from tests.unit.core.worlds import FILE, NOW, OWNER

AND = " + "  # between the faults of one move


class Move(NamedTuple):
    """What happened, and what came of it. *fault*: empty where nothing went wrong."""

    what: str
    after: Scene
    fault: str = ""


class Moves:
    """The moves from each scene; each decision is computed once."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.shape = memory.shape
        self.decided: dict[tuple[Scene, bool], tuple[Move, ...]] = {}
        self.decisions = 0
        self.aged: dict[tuple[tuple[int, ...], int], tuple[tuple[int, ...], int]] = {}
        self.aged_ledgers: dict[int, int] = {}
        self.asked: dict[tuple[int, tuple[int, ...], int, int], dict[str, tuple[int, tuple[int, ...], int]]] = {}

    def of(self, scene: Scene) -> Iterator[Move]:
        """Yield every move from *scene*."""
        may_fail = self.shape.together or self.unharmed(scene)
        for move in (*self.tool(scene, may_fail=may_fail), *self.others(scene, may_fail=may_fail)):
            if not move.fault or self.shape.together or AND not in move.fault:
                yield move

    def unharmed(self, scene: Scene) -> bool:
        """Tell whether every fault is over: nothing is on its way, failed in this run, unanswered, deaf, unloaded."""
        if scene.late is not None or scene.failed or scene.relapsed or set(scene.shows) != {scene.live}:
            return False
        ledger, book = self.memory.ledgers.values[scene.ledger], self.memory.books.values[scene.book]
        return not any(e.intended for e in ledger.entries) and all(x.identity == NEW for x in book.reloads.values())

    # -------------------------------------------------------------------------------- the tool

    def tool(self, scene: Scene, *, may_fail: bool) -> tuple[Move, ...]:
        """Return what one decision of the tool may come to: first without a fault, then with each."""
        visible = scene._replace(late=None, relapsed=False)
        key = (visible, may_fail)
        allowed = self.shape.faults if may_fail else frozenset()
        if key not in self.decided:
            looks: list[tuple[int | None, str]] = [(None, "")]
            if "endpoint unreached" in allowed:
                looks += [(i, "endpoint unreached") for i in range(self.shape.endpoints)]
            found = [m for unreached, fault in looks for m in self._decide(visible, unreached, fault)]
            self.decided[key] = tuple(m for m in found if not m.fault or set(m.fault.split(AND)) <= allowed)
        late = scene.late
        # What was late stays late; one is on its way at a time.
        return tuple(
            m if late is None else m._replace(after=m.after._replace(late=late))
            for m in self.decided[key]
            if late is None or m.after.late is None
        )

    def _decide(self, scene: Scene, unreached: int | None, fault: str) -> Iterator[Move]:
        """Look, remember, decide, do; as the engine does it."""
        self.decisions += 1
        seen = self.memory.sighting(scene, unreached)
        world = self.memory.world(scene)
        world = replace(world, ledgers=remember_owners(world, seen, self.memory.service.patience))
        world = replace(world, book=remember(world, seen))
        scene = scene._replace(changed=False)
        step = decide(world, seen)
        book = world.book
        if isinstance(step, Rest):
            failed = scene.failed if step.soon else ()
            yield Move(f"rests: {step.phase}", self._kept(scene._replace(failed=failed), world), fault)
        elif isinstance(step, Update):
            yield from self._update(scene, world, step, fault)
        elif isinstance(step, Install):
            yield from self._install(scene, world, seen, fault)
        elif isinstance(step, ReloadStep):
            yield from self._load(scene, world, book, fault, again=step.again)
        elif isinstance(step, SetGoal):
            book = (
                goals.take_return(book, step.fingerprint, step.why)
                if step.returning
                else goals.set_goal(book, step.fingerprint)
            )
            what = "takes back" if step.returning else "lets the queued one have its turn"
            yield Move(what, self._kept(scene, world, book), fault)
        elif isinstance(step, Activate):
            yield Move("activates", self._kept(scene, world, goals.activate(book, NOW)), fault)
        if not isinstance(step, Rest):
            yield Move("looks", self._kept(scene, world), _also(fault, "looks, and is killed"))

    def _kept(self, scene: Scene, world: World, book: Book | None = None) -> Scene:
        return self.memory.scene(scene, world.book if book is None else book, world.ledgers[OWNER])

    def _update(self, scene: Scene, world: World, step: Update, fault: str) -> Iterator[Move]:
        (change,) = step.changes
        expect, result = MASKS[change.expect], MASKS[change.result]
        what = f"updates {_told(expect)} to {_told(result)}"
        before = world.ledgers[OWNER]
        noted = intend(before, change.result, change.ttl, NOW)
        intended = replace(world, ledgers={OWNER: noted})
        applied = replace(world, ledgers={OWNER: settle(noted, change.result)})
        scene = scene._replace(managed=scene.managed | MASKS[change.add - change.expect])
        done = scene._replace(primary=result, changed=True, fresh=False)
        failed = tuple(sorted({*scene.failed, f"update:{OWNER}"}))
        yield Move(what, self._kept(done, applied), fault)
        yield Move(what, self._kept(scene, intended), _also(fault, "update killed"))
        yield Move(what, self._kept(scene._replace(failed=failed), world), _also(fault, "update refused"))
        yield Move(what, self._kept(done._replace(failed=failed), intended), _also(fault, "answer lost"))
        late = scene._replace(failed=failed, late=(expect, result, 0))
        yield Move(what, self._kept(late, intended), _also(fault, "update late"))

    def _install(self, scene: Scene, world: World, seen: Sighting, fault: str) -> Iterator[Move]:
        goal = world.goal
        assert goal is not None
        number = FINGERPRINTS.index(goal.fingerprint)
        what = f"installs {number}"
        begun = scene.live == number
        book = goals.open_install(world.book, goal.fingerprint, NOW, seen.endpoints, begun=begun)
        yield from self._load(scene._replace(live=number), world, _written(book), fault, what=what)
        yield Move(what, self._kept(scene, world, book), _also(fault, "install killed"))
        failed = tuple(sorted({*scene.failed, "install"}))
        yield Move(what, self._kept(scene._replace(failed=failed), world, book), _also(fault, "disk full"))
        # A reload that fails; or, after the run ends, a kill between the two.
        failed = tuple(sorted({*scene.failed, "reload"}))
        written = scene._replace(live=number, failed=failed)
        yield Move(what, self._kept(written, world, _written(book)), _also(fault, "written, not loaded"))

    def _load(
        self, scene: Scene, world: World, book: Book, fault: str, *, again: bool = False, what: str = "reloads"
    ) -> Iterator[Move]:
        before = book.reloads.get(FILE)
        repeats = before.repeats + 1 if again and before is not None else 0
        recorded = replace(book, reloads={FILE: Reload(NEW, NOW, repeats)})
        for hears in product((True, False), repeat=len(scene.shows)):
            shows = tuple(scene.live if h else s for h, s in zip(hears, scene.shows, strict=True))
            deaf = fault if all(hears) else _also(fault, "deaf")
            loaded = scene._replace(shows=shows)
            yield Move(what, self._kept(loaded, world, recorded), deaf)
            yield Move(what, self._kept(loaded, world, book), _also(deaf, "loaded, not recorded"))

    # --------------------------------------------------------------------------------- others

    def others(self, scene: Scene, *, may_fail: bool) -> Iterator[Move]:
        """Yield what others do: servers, mail servers, hooks, a person; and time."""
        memory, faults = self.memory, self.shape.faults if may_fail else frozenset()
        if scene.failed:
            yield Move("the run ends", scene._replace(failed=()))
        if not scene.fresh and not scene.relapsed:
            yield Move("transfer", scene._replace(secondary=scene.primary, fresh=True))
        yield Move("time", self.later(scene))
        if scene.late is not None and scene.primary == scene.late[0]:
            after = scene._replace(primary=scene.late[1], changed=True, fresh=False, late=None)
            yield Move("the late update lands", after, "update late")
        if "restart" in self.shape.faults:
            for i, shown in enumerate(scene.shows):
                if shown != scene.live:
                    shows = (*scene.shows[:i], scene.live, *scene.shows[i + 1 :])
                    yield Move("an endpoint is restarted", memory.scene(scene._replace(shows=shows)), "restart")
        if "relapse" in faults:
            for old in self.shape.relapses:
                if old < 1 << scene.staged:
                    after = scene._replace(secondary=old, fresh=False, relapsed=True)
                    yield Move(f"the secondary goes back to {_told(old)}", after, "relapse")
        for what, (staged, shows, book) in self._asked(scene).items():
            yield Move(what, scene._replace(staged=staged, shows=shows, book=book))

    def _asked(self, scene: Scene) -> dict[str, tuple[int, tuple[int, ...], int]]:
        """Return what hooks and a person may ask for: by name, what is staged then, and the book."""
        memory, key = self.memory, (scene.staged, scene.shows, scene.book, scene.ledger)
        if key in self.asked:
            return self.asked[key]
        found = self.asked[key] = {}
        if scene.staged < self.shape.credentials:
            more = scene._replace(staged=scene.staged + 1)
            book, _ = goals.deploy(memory.world(more), FINGERPRINTS[scene.staged], NOW)
            after = memory.scene(more, book)
            found[f"deploy {scene.staged}"] = (after.staged, after.shows, after.book)
        if self.shape.rollbacks:
            world = memory.world(scene)
            for number, to in ((-1, ""), *enumerate(FINGERPRINTS[: scene.staged])):
                try:
                    book, _ = goals.rollback(world, NOW, to=to)
                except goals.GoalRefused:
                    continue
                after = memory.scene(scene, book)
                found[f"rollback --to {number}" if to else "rollback"] = (after.staged, after.shows, after.book)
        return found

    def later(self, scene: Scene) -> Scene:
        """Return *scene* one step of time later."""
        memory = self.memory
        key = (scene.shows, scene.book)
        if key not in self.aged:
            after = memory.scene(scene, older(memory.books.values[scene.book]))
            self.aged[key] = (after.shows, after.book)
        if scene.ledger not in self.aged_ledgers:
            ledger = older(memory.ledgers.values[scene.ledger])
            self.aged_ledgers[scene.ledger] = memory.scene(scene, ledger=ledger).ledger
        late = scene.late
        if late is not None:
            late = (late[0], late[1], late[2] + 1) if late[2] + 1 < MAY_LAND else None
        shows, book = self.aged[key]
        return scene._replace(shows=shows, book=book, ledger=self.aged_ledgers[scene.ledger], late=late)


def _also(fault: str, other: str) -> str:
    return f"{fault}{AND}{other}" if fault else other


def _written(book: Book) -> Book:
    """Return *book* when the live file was written: no reload is recorded for this very file."""
    return replace(book, reloads={p: replace(x, identity=OLD) for p, x in book.reloads.items()})


def _told(mask: int) -> str:
    return "{" + " ".join(str(i) for i in range(mask.bit_length()) if mask >> i & 1) + "}"
