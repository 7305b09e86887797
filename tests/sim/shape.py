"""What a world is made of: drawn from its seed, and nothing in it changes later."""

from __future__ import annotations

import random
from dataclasses import dataclass

FORMS = ("plain", "plain", "wildcard", "cname", "cname to another zone", "two owners, one target", "two zones")
LARGEST_TTL = 300
HOSTS = ("mx1.example.test", "mx2.example.test")


@dataclass(frozen=True)
class Shape:
    """One world. Seconds; *ttls*: how many TTLs the tool waits, and how many a resolver may stretch one to."""

    seed: int
    form: str = "plain"
    secondaries: int = 2
    chained: bool = False
    hidden_primary: bool = False
    anycast: bool = False
    ttl: int = 100
    ttls: int = 1
    stretch: int = 0
    settle: int = 0
    enforced: int = 0
    both: bool = False
    retain: int = 400
    drain: int = 50
    addresses: int = 2
    services: int = 1

    @property
    def bound(self) -> float:
        """In how many seconds after the last fault all is done: looks, late updates, three waits, two retentions."""
        wait = max(self.ttls * LARGEST_TTL, LARGEST_TTL + 3, self.stretch) + self.settle + 120
        return 900 + 600 + 3 * wait + 2 * (self.retain + self.drain) + 600

    @property
    def hosts(self) -> tuple[str, ...]:
        """The TLSA base domains of the first service."""
        return HOSTS if self.form == "two zones" else HOSTS[:1]


def draw(seed: int) -> Shape:
    """Return the shape of the world of *seed*."""
    source = random.Random(f"shape {seed}")
    form = source.choice(FORMS)
    anycast = source.random() < 0.2
    return Shape(
        seed=seed,
        form=form,
        secondaries=source.choice((1, 2, 2, 3)),
        chained=source.random() < 0.4,
        hidden_primary=source.random() < 0.3,
        anycast=anycast,
        ttl=source.choice((30, 100, 100, 300)),
        ttls=source.choice((1, 2)),
        stretch=source.choice((0, 0, 0, 250)),
        settle=40 if anycast else 0,
        enforced=source.choice((0, 0, 0, 60, 200)),
        both=source.random() < 0.3,
        retain=source.choice((0, 400)),
        drain=50,
        addresses=source.choice((1, 2, 2)),
        services=2 if form == "two owners, one target" else 1,
    )
