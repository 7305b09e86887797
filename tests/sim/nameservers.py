"""Name servers of the simulated world: copies of zones, transfers, and everything a resolver may still hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

Records = frozenset[str]
NOTHING: Records = frozenset()
NS_TTL = 120
NEGATIVE_TTL = 60  # of an answer that there is nothing
ROUNDED_UP = 3  # seconds that resolver and sender add to a TTL, whole seconds being all that they count
Required = tuple[str, Records]  # a prerequisite of an update: a name, and the exact records that it has
Landing = tuple[str, Records, Records, Records, int]  # of an update: name, what it was computed from, add, delete, TTL


@dataclass(frozen=True)
class Node:
    """What a name has: TLSA records with one TTL, or a CNAME; *signed* is the inception of its signature."""

    records: Records = NOTHING
    ttl: int = 0
    cname: str = ""
    signed: int = 0


@dataclass(frozen=True)
class Copy:
    """A zone as one server has it."""

    serial: int
    nodes: dict[str, Node]

    def lookup(self, name: str) -> tuple[Node, str]:
        """Return what is at *name*, and the wildcard that it was made from."""
        if name in self.nodes:
            return self.nodes[name], ""
        labels = name.split(".")
        for i in range(1, len(labels)):
            wildcard = ".".join(["*", *labels[i:]])
            if wildcard in self.nodes:
                return self.nodes[wildcard], wildcard
        return Node(), ""


@dataclass
class Server:
    """One server of one zone. *asked_until*: the public asks it so long, for ever as a rule."""

    label: str
    zone: str
    copy: Copy
    since: float = 0.0  # when it got that
    upstream: Server | None = None
    public: bool = True
    seen: bool = True  # an anycast node that only others reach is not
    delay: float = 0.0
    lagging: bool = False
    reached: bool = True
    missed: dict[str, float] = field(default_factory=dict)  # by service, when a look first got no answer, on our clock
    badly_signed: bool = False
    asked_until: float = float("inf")
    listed: bool = True  # in the NS RRset
    joined: bool = False  # it came back there, and the tool has not seen it there since
    restored: bool = False  # it has an old copy that somebody restored, or took it from one that has
    edited: bool = False  # somebody changed the zone on it, and the tool has not asked it since
    unseen: bool = False  # it was restored from an old copy, and the tool has not asked it since


@dataclass(frozen=True)
class Kept:
    """What one resolver has of a name, and until when."""

    records: Records
    until: float


@dataclass
class Resolver:
    """The validating resolver that the tool asks: one of all those whose caches are in Held."""

    kept: dict[str, Kept] = field(default_factory=dict)
    insecure: bool = False  # it authenticates nothing
    silent: bool = False


@dataclass
class Held:
    """What resolvers may hold of one owner: records, and until when."""

    until: dict[Records, float] = field(default_factory=dict)

    def add(self, records: Records, until: float) -> None:
        """Note that somebody may hold *records* until then."""
        self.until[records] = max(self.until.get(records, 0.0), until)


class Zones:
    """All servers of all zones; *now* and *later* are the world's clock and timers."""

    def __init__(self, owners: dict[str, str], stretch: Callable[[int], float], now: Callable[[], float]) -> None:
        self.targets = owners  # owner -> where its records are
        self.servers: list[Server] = []
        self._of: dict[str, list[Server]] = {}  # by zone
        self._zones: dict[str, str] = {}  # by name
        self.held = {owner: Held() for owner in owners}
        self.old: dict[str, list[Copy]] = {}
        self._stretch = stretch
        self._now = now
        self._signed = 0

    def add(self, server: Server) -> None:
        """Add a server, the primary of a zone before its others."""
        self.servers.append(server)
        self._of.setdefault(server.zone, []).append(server)
        self._zones.clear()

    def of(self, zone: str) -> list[Server]:
        """Return the servers of *zone*, the primary first."""
        return self._of[zone]

    def primary(self, zone: str) -> Server:
        """Return the primary of *zone*."""
        return self._of[zone][0]

    def zone_of(self, name: str) -> str:
        """Return the zone that *name* is in."""
        if name not in self._zones:
            self._zones[name] = max((zone for zone in self._of if name.endswith(zone)), key=len)
        return self._zones[name]

    def askable(self, server: Server) -> bool:
        """Tell whether a resolver may get an answer that it believes from *server* now."""
        place = (
            server if server.seen or server.upstream is None else server.upstream
        )  # a node has the address of another
        return server.public and self._now() <= place.asked_until  # bad signatures may be mended at any instant

    def visible(self, owner: str, *, since: float = float("inf")) -> set[Records]:
        """Return every RRset that a resolver could fetch now, and all the time *since*."""
        target = self.targets[owner]
        zone = self.zone_of(target)
        return {s.copy.lookup(target)[0].records for s in self.of(zone) if self.askable(s) and s.since <= since}

    def may_be_held(self, owner: str) -> set[Records]:
        """Return every RRset that a resolver may hold or fetch now."""
        now = self._now()
        return self.visible(owner) | {r for r, until in self.held[owner].until.items() if until > now}

    def serve(self, server: Server, copy: Copy) -> None:
        """Let *server* have *copy*; what it gave before may be held from the last second on."""
        self.remember(server)
        server.copy, server.since = copy, self._now()

    def remember(self, server: Server) -> None:
        """Note what resolvers may have fetched from *server* until this instant."""
        if not self.askable(server):
            return
        for owner, target in self.targets.items():
            if self.zone_of(target) == server.zone:
                node, _ = server.copy.lookup(target)
                self.held[owner].add(node.records, self._now() + self._stretch(node.ttl))

    def edit(self, zone: str, name: str, node: Node | None) -> None:
        """Change *name* on the primary; None takes it away."""
        first = self.primary(zone)
        self.old.setdefault(zone, []).append(first.copy)
        nodes = {k: v for k, v in first.copy.nodes.items() if k != name}
        if node is not None:
            self._signed += 1
            nodes[name] = replace(node, signed=self._signed)
        self.serve(first, Copy(first.copy.serial + 1, nodes))

    def behind(self) -> Iterator[Server]:
        """Yield every server that would take a newer copy now."""
        for server in self.servers:
            if server.upstream is not None and not server.lagging and server.upstream.copy.serial > server.copy.serial:
                yield server
