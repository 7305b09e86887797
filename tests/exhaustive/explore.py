"""Breadth first through every state of a small world, and what must hold in each.

First the scenes, which no cache can influence; then scenes with caches, where mail can be deferred. The first
violation is the shortest: it is told move by move.
"""

from __future__ import annotations

import itertools
import time
from array import array
from dataclasses import dataclass, field

from tests.exhaustive.caches import Each, Everything, Held
from tests.exhaustive.moves import Moves
from tests.exhaustive.rule import Pair, deferred, ended
from tests.exhaustive.scene import FINGERPRINTS, Memory, Scene, Shape


class Deferred(AssertionError):
    """Mail is deferred in a state that can be reached, by what the tool did."""


class Stuck(AssertionError):
    """From a state that can be reached the rollover never ends, though nothing goes wrong any more."""


class TooLarge(Exception):
    """The world has more states than were asked for: the bound that was reached is in it."""


@dataclass(frozen=True)
class Edge:
    """One move from one scene to another; *fault*: what went wrong in it."""

    what: str
    target: int
    fault: str


@dataclass
class Found:
    """What an exploration came to."""

    shape: Shape
    scenes: int = 0
    moves: int = 0
    decisions: int = 0
    states: int = 0
    transitions: int = 0
    depth: int = 0
    longest_way_out: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def row(self) -> str:
        """Return a row of the table."""
        return (
            f"| {self.shape.name} | {self.scenes:,} | {self.moves:,} | {self.decisions:,} | {self.states:,} "
            f"| {self.transitions:,} | {self.depth} | {self.longest_way_out} | {self.seconds:.0f} |"
        )


HEAD = (
    "| world | scenes | moves | decisions | states with caches | transitions | depth | longest way to the end | s |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


WIDTH = 1 << 32  # a state is a number: what is held, times this, and the scene
Kind = tuple[tuple[int, int], frozenset[int]]  # what the servers give, and what may be presented


class Exploration:
    """One world. explore() goes through all of it, or raises Deferred, Stuck or TooLarge."""

    def __init__(self, shape: Shape, *, most: int = 10_000_000) -> None:
        self.shape, self.most = shape, most
        self.memory = Memory(shape)
        self.moves = Moves(self.memory)
        self.scenes: list[Scene] = []
        self.numbers: dict[Scene, int] = {}
        self.edges: list[tuple[Edge, ...] | None] = []
        self.kind: list[int] = []
        self.kinds: list[Kind] = []
        self._kind_numbers: dict[Kind, int] = {}
        self._same: dict[Edge, Edge] = {}
        self.found = Found(shape)

    def explore(self) -> Found:
        """Go through every state; the processor time is in the result."""
        started = time.process_time()
        self.check_caches()
        self.check_ends()
        self.found.seconds = time.process_time() - started
        return self.found

    # --------------------------------------------------------------------------------- scenes

    def _number(self, scene: Scene) -> int:
        known = self.numbers.get(scene)
        if known is None:
            known = self.numbers[scene] = len(self.scenes)
            self.scenes.append(scene)
            self.edges.append(None)
            kind = (scene.primary, scene.secondary), frozenset({scene.live, *scene.shows}) - self.shape.broken
            if kind not in self._kind_numbers:
                self._kind_numbers[kind] = len(self.kinds)
                self.kinds.append(kind)
            self.kind.append(self._kind_numbers[kind])
        return known

    def _edges(self, number: int) -> tuple[Edge, ...]:
        """Return every move from a scene; each is computed once."""
        known = self.edges[number]
        if known is None:
            edges: dict[Edge, None] = {}
            for move in self.moves.of(self.scenes[number]):
                edge = Edge(move.what, self._number(move.after), move.fault)
                edges[self._same.setdefault(edge, edge)] = None
            known = self.edges[number] = tuple(edges)
            self.found.moves += len(known)
            for edge in known:
                if edge.fault:
                    self.found.faults[edge.fault] = self.found.faults.get(edge.fault, 0) + 1
        return known

    # --------------------------------------------------------------------------------- caches

    def check_caches(self) -> None:
        """Go through every scene with everything that caches may hold in it. Raises Deferred."""
        shape, kind = self.shape, self.kind
        caches = Everything(shape.ttl, shape.credentials) if shape.caches is None else Each(shape.ttl, shape.caches)
        helds: list[tuple[Held, frozenset[Pair]]] = []  # with what is excused
        held_numbers: dict[tuple[Held, frozenset[Pair]], int] = {}
        following: dict[tuple[int, int, int, str], int] = {}

        def number(held: Held, excused: frozenset[Pair]) -> int:
            it = held_numbers.setdefault((held, excused), len(helds))
            if it == len(helds):
                helds.append((held, excused))
            return it

        def step(held: int, before: int, now: int, how: str) -> int:
            """Return what is held after a move; -1: mail is deferred."""
            (servers, _), (servers_now, chains_now) = self.kinds[before], self.kinds[now]
            old, excused = helds[held]
            new = caches.after(old, servers, servers_now, later=how == "later")
            wrong = deferred((*servers_now, *(x for x, _ in new)), chains_now)
            if how == "excused":
                excused |= wrong
            return number(new, excused & wrong) if wrong <= excused else -1

        order = array("q", [number(caches.start(), frozenset()) * WIDTH + self._number(self.memory.start())])
        came = array("q", [-1])
        seen = set(order)
        at, depth, end_of_level, transitions = 0, 0, 1, 0
        while at < len(order):
            if at == end_of_level:
                depth, end_of_level = depth + 1, len(order)
            held, scene = divmod(order[at], WIDTH)
            after: list[int] = []
            for edge in self._edges(scene):
                how = "later" if edge.what == "time" else "excused" if edge.fault == "relapse" else ""
                key = (held, kind[scene], kind[edge.target], how)
                if key not in following:
                    following[key] = step(*key)
                if following[key] < 0:
                    raise Deferred(self._story(order, came, at, edge))
                after.append(following[key] * WIDTH + edge.target)
            old, excused = helds[held]
            servers, chains = self.kinds[kind[scene]]
            for new in caches.fetched(old, servers):
                if not deferred((x for x, _ in new), chains) <= excused:
                    raise Deferred(self._story(order, came, at, None))
                after.append(number(new, excused) * WIDTH + scene)
            transitions += len(after)
            for state in after:
                if state not in seen:
                    seen.add(state)
                    order.append(state)
                    came.append(at)
            if len(order) > self.most:
                raise TooLarge(f"more than {self.most:,} states; complete to a depth of {depth} moves")
            at += 1
        found = self.found
        found.scenes, found.decisions = len(self.scenes), self.moves.decisions
        found.states, found.transitions, found.depth = len(order), transitions, depth

    def _story(self, order: array[int], came: array[int], at: int, last: Edge | None) -> str:
        path = []
        while at >= 0:
            path.append(order[at] % WIDTH)
            at = came[at]
        path.reverse()
        said = []
        for one, other in itertools.pairwise(path):
            edge = next((e for e in self._edges(one) if e.target == other), None)
            said.append(_sentence(edge) if edge is not None else "a cache fetches")
        said.append(_sentence(last) if last is not None else "a cache fetches")
        end = self.scenes[last.target if last is not None else path[-1]]
        return f"{self.shape.name}: mail is deferred after: {'; '.join(said)}. Then {end}"

    # ------------------------------------------------------------------------------------ end

    def check_ends(self) -> None:
        """Show that from every scene, left alone, the rollover ends. Raises Stuck.

        Left alone: the tool runs, what it wrote is transferred, time passes; nothing fails. As each scene then
        has one successor, a way that does not end comes to a circle, and is found.
        """
        calm = [self._left_alone(i) for i in range(len(self.scenes))]
        steps = array("q", [-1]) * len(calm)
        for start in range(len(calm)):
            path: list[int] = []
            here = start
            on_path: set[int] = set()
            while steps[here] < 0 and here not in on_path and calm[here] != here:
                path.append(here)
                on_path.add(here)
                here = calm[here]
            if here in on_path:
                circle = [self.scenes[i] for i in path[path.index(here) :]]
                raise Stuck(f"{self.shape.name}: it goes round in a circle of {len(circle)} scenes: {circle[:4]}")
            if steps[here] < 0:
                self._check_end(here)
                steps[here] = 0
            for n, i in enumerate(reversed(path), 1):
                steps[i] = steps[here] + n
        self.found.longest_way_out = max(steps)

    def _left_alone(self, number: int) -> int:
        """Return the next scene when nothing happens but what has to."""
        edges = self._edges(number)
        decision = next(e for e in edges)
        if decision.target != number:
            return decision.target
        for what in ("the run ends", "transfer", "time"):
            for edge in edges:
                if edge.what == what and edge.target != number:
                    return edge.target
        return number

    def _check_end(self, number: int) -> None:
        scene = self.scenes[number]
        book = self.memory.books.values[scene.book]
        steady = self._edges(number)[0].what == "rests: steady"
        right = book.goal == book.active == FINGERPRINTS[scene.live] and not book.queued and book.install is None
        if not (steady and right and ended((scene.primary, scene.secondary), scene.shows, scene.live)):
            said = self._edges(number)[0].what
            raise Stuck(f"{self.shape.name}: it ends where it should not, and the tool {said}: {scene}, {book}")


def _sentence(edge: Edge) -> str:
    return f"{edge.what} ({edge.fault})" if edge.fault else edge.what
