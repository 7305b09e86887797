"""One state of the small world without its caches: servers, endpoints, the live file, what the tool remembers.

An RRset is a number (rule.py); the tool sees the real records, the real Book and the real Ledger.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

from rollover.core import goals
from rollover.core.ledger import ROUNDING, Ledger, Patience
from rollover.core.model import Book, Credential, Reload, Service, Shown, State, World
from rollover.core.sighting import (
    Endpoint,
    EndpointSighting,
    LiveFile,
    Outcome,
    OwnerSighting,
    ResolverAnswer,
    ServerAnswer,
    Sighting,
    Signature,
)
from rollover.core.tlsa import RRset
from tests.exhaustive.relative import (
    NEW,
    SIGNED,
    SIGNED_NOW,
    STEP,
    VERIFY,
    ago,
    canonical_book,
    canonical_ledger,
    frozen,
)
from tests.unit.core.worlds import FILE, HOST, NOW, OWNER, ZONE, chain, credential, fp, r

LETTERS = "ABC"
CHAINS = tuple(chain(x) for x in LETTERS)
VAULT: tuple[Credential, ...] = tuple(credential(x, days=3650) for x in LETTERS)
FINGERPRINTS = tuple(fp(x) for x in LETTERS)
RRSETS: tuple[RRset, ...] = tuple(
    r(" ".join(x for i, x in enumerate(LETTERS) if mask >> i & 1)) for mask in range(1 << len(LETTERS))
)
MASKS = {rrset: mask for mask, rrset in enumerate(RRSETS)}
ENDPOINTS = tuple(Endpoint(HOST, address, 25) for address in ("192.0.2.25", "192.0.2.26"))

FAULTS = frozenset({
    "looks, and is killed",  # what was seen is stored, nothing is decided
    "update killed",  # the intent is stored, nothing is sent
    "update refused",
    "answer lost",  # the update is applied, and nobody knows; or the run is killed after it
    "update late",  # no answer; it may land for 300 s more
    "install killed",  # the intent is stored, nothing is written
    "disk full",
    "written, not loaded",  # killed between the two, or the reload fails
    "loaded, not recorded",
    "deaf",  # endpoints that do not hear this reload
    "endpoint unreached",  # by this look of the tool, not by senders
    "relapse",  # the secondary goes back to an older copy
    "restart",  # an endpoint is restarted, and reads the live file
})  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """How large a world is; spans in steps of 300 s.

    *relapses*: which RRsets an older copy of the secondary may hold. *broken*: certificates that the mail server
    answers 454 with. *caches* None: everything that may be held is held.
    *together*: a fault may happen before the one before it is over.
    """

    name: str
    credentials: int = 2
    endpoints: int = 2
    ttl: int = 1
    retain: int = 1
    rollbacks: bool = True
    faults: frozenset[str] = frozenset()
    relapses: tuple[int, ...] = ()
    broken: frozenset[int] = frozenset()
    caches: int | None = None
    together: bool = False

    @property
    def service(self) -> Service:
        """One TTL is waited, the least that is safe: no step is hidden by patience."""
        return Service(
            "mail",
            (HOST,),
            (25,),
            patience=Patience(ttls=1),
            retain=self.retain * STEP,
            drain=VERIFY * STEP,
            verify_timeout=VERIFY * STEP,
        )


class Scene(NamedTuple):
    """*changed*: the primary was, since the last look. *fresh*: the secondary's copy is the primary's present one.

    *relapsed*: the secondary went back, and the tool has not looked since. *late*: an update on its way, with the
    RRset that it expects, what it makes, and its age. *failed*: in this run of the tool.
    """

    primary: int
    changed: bool
    secondary: int
    fresh: bool
    relapsed: bool
    shows: tuple[int, ...]
    live: int
    managed: int
    staged: int
    late: tuple[int, int, int] | None
    failed: tuple[str, ...]
    book: int
    ledger: int


T = TypeVar("T")


@dataclass
class Known(Generic[T]):
    """Values by number, each once."""

    values: list[T] = field(default_factory=list)
    numbers: dict[object, int] = field(default_factory=dict)

    def number(self, value: T) -> int:
        """Return the number of *value*."""
        key = frozen(value)
        if key not in self.numbers:
            self.numbers[key] = len(self.values)
            self.values.append(value)
        return self.numbers[key]


class Memory:
    """Turns a scene into what the tool is given, and what the tool leaves into a scene."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.service = shape.service
        self.endpoints = ENDPOINTS[: shape.endpoints]
        self.books: Known[Book] = Known()
        self.ledgers: Known[Ledger] = Known()
        # What was met in the last moments, by identity: one decision comes to many scenes with one book.
        self._met: dict[int, tuple[Any, Any]] = {}
        self._known: dict[int, int] = {}

    def start(self) -> Scene:
        """Return the world in which certificate 0 has been served for long."""
        book = Book(
            adopted=True,
            goal=FINGERPRINTS[0],
            active=FINGERPRINTS[0],
            reloads={FILE: Reload(NEW, ago(9))},
            dane_on=frozenset({OWNER}),
        )
        book = goals.mark(book, FINGERPRINTS[0], State.ACTIVE, NOW.wall)
        shows = (0,) * self.shape.endpoints
        scene = Scene(1, False, 1, True, False, shows, 0, 1, 1, None, (), 0, 0)
        return self.scene(scene, book, Ledger(OWNER))

    def world(self, scene: Scene) -> World:
        """Return what the tool has on disk."""
        return World(
            self.service,
            self.books.values[scene.book],
            {c.fingerprint: c for c in VAULT[: scene.staged]},
            {OWNER: self.ledgers.values[scene.ledger]},
            {OWNER: RRSETS[scene.managed]},
            failed=dict.fromkeys(scene.failed, "failed"),
        )

    def sighting(self, scene: Scene, unreached: int | None = None) -> Sighting:
        """Return what the tool sees; *unreached*: an endpoint that does not answer it."""
        ttl = round(self.shape.ttl * STEP) - ROUNDING  # what is held, and waited for, is whole steps
        inception = SIGNED_NOW if scene.changed else SIGNED
        first = _answer("ns1", scene.primary, 2, inception, ttl, primary=True)
        second = _answer("ns2", scene.secondary, 2 if scene.fresh else 1, inception, ttl)
        said = ResolverAnswer(first.rrset, authenticated=True)
        return Sighting(
            NOW,
            (OwnerSighting(OWNER, OWNER, ZONE, (first, second), said),),
            tuple(self._endpoint(i, scene, unreached) for i in range(self.shape.endpoints)),
            (LiveFile(FILE, NEW, CHAINS[scene.live]),),
            clock_agrees=True,
        )

    def _endpoint(self, i: int, scene: Scene, unreached: int | None) -> EndpointSighting:
        if i == unreached:
            return EndpointSighting(self.endpoints[i], Outcome.UNREACHABLE, detail="unreachable")
        if scene.shows[i] in self.shape.broken:
            return EndpointSighting(self.endpoints[i], Outcome.NO_TLS, detail="454")
        return EndpointSighting(self.endpoints[i], Outcome.PRESENTED, (CHAINS[scene.shows[i]],))

    def scene(self, scene: Scene, book: Book | None = None, ledger: Ledger | None = None) -> Scene:
        """Return *scene* with what the tool remembers now; endpoints in the order that makes it one of its kind."""
        if len(self._met) > 64:
            self._met.clear()
        if ledger is not None:
            if id(ledger) not in self._met:
                self._met[id(ledger)] = (ledger, self.ledgers.number(canonical_ledger(ledger, self.shape.ttl)))
            scene = scene._replace(ledger=self._met[id(ledger)][1])
        if book is None:
            book = self.books.values[scene.book]
        else:
            if id(book) not in self._met:
                it = self.books.values[self.books.number(canonical_book(book, self.shape.retain))]
                self._met[id(book)] = (book, it)
            book = self._met[id(book)][1]
        if id(book) in self._known and book.install is None:
            return scene._replace(shows=tuple(sorted(scene.shows)), book=self._known[id(book)])
        shows = list(scene.shows)
        if book.install is None:
            shows.sort()
        else:
            old = book.install.picture
            there: list[tuple[int, Shown]] = [(s, old[e]) for s, e in zip(shows, self.endpoints, strict=True)]
            there.sort(key=lambda x: (x[0], x[1].outcome, x[1].fingerprints))
            picture = dict(zip(self.endpoints, (x[1] for x in there), strict=True))
            shows = [x[0] for x in there]
            book = replace(book, install=replace(book.install, picture=picture))
        number = self.books.number(book)
        self._known[id(self.books.values[number])] = number  # values are never given up: their ids stay theirs
        return scene._replace(shows=tuple(shows), book=number)


def _answer(name: str, mask: int, serial: int, inception: datetime, ttl: int, *, primary: bool = False) -> ServerAnswer:
    return ServerAnswer(
        name,
        ZONE,
        primary,
        public=True,
        reached=True,
        rrset=RRSETS[mask],
        ttl=ttl,
        own_ttl=ttl,
        serial=serial,
        signature=Signature.VALID,
        inception=inception if mask else None,
    )
