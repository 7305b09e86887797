"""The tool's hands for mail servers, in the simulated world: handshakes, and the live file with its reload."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from rollover.core.certificate import parse_chain
from rollover.core.errors import CannotWrite, ServerError
from rollover.core.sighting import Endpoint, EndpointSighting, LiveFile, Outcome
from rollover.mail.target import Finding
from tests.sim.hands import Hands
from tests.sim.judge import Violation

chain_of = functools.cache(parse_chain)


class SimEndpoints:
    """Handshakes."""

    def __init__(self, hands: Hands) -> None:
        self.world = hands.world

    async def probe(
        self, endpoints: Sequence[Endpoint], *, connections: int, timeout: float | None
    ) -> tuple[EndpointSighting, ...]:
        return tuple(self._probe(e, connections) for e in endpoints)

    def _probe(self, it: Endpoint, connections: int) -> EndpointSighting:
        for mail in self.world.mail.values():
            for place in mail.places:
                if (place.host, place.address, place.port) != (it.host, it.address, it.port):
                    continue
                if not place.reached:
                    return EndpointSighting(it, Outcome.UNREACHABLE, detail="timed out")
                place.met = place.shows
                shown = list(mail.shown_at(place))
                if len(shown) > 1 and self.world.chance(f"met {len(self.world.log)} {it}", (True, False)):
                    shown = shown[:1]  # a connection more or less, and the old process is not met
                if place.shows in mail.broken:
                    return EndpointSighting(it, Outcome.NO_TLS, detail="454 4.7.0 TLS not available")
                chains = tuple(chain_of(self.world.certificates[n].fullchain) for n in dict.fromkeys(reversed(shown)))
                return EndpointSighting(it, Outcome.PRESENTED, chains, connections=connections)
        return EndpointSighting(it, Outcome.UNREACHABLE, detail="nobody is there")


class SimTarget:
    """The live file of one service, and the reload of what reads it."""

    def __init__(self, hands: Hands, service: str) -> None:
        self.hands = hands
        self.service = service
        self.mail = hands.world.mail[service]

    @property
    def label(self) -> str:
        return f"/live/{self.service}.pem"

    def live(self) -> LiveFile:
        chain = chain_of(self.hands.world.certificates[self.mail.live].fullchain)
        return LiveFile(self.label, f"{self.mail.written}", chain)

    def served(self) -> tuple[bytes, bytes, str]:
        it = self.hands.world.certificates[self.mail.live]
        return it.key, it.fullchain, self.label

    def install(self, key_pem: bytes, chain_pem: bytes) -> str:
        self.hands.boundary("before the install")
        if self.hands.take("disk full"):
            raise CannotWrite(f"cannot write {self.label}: No space left on device", hint="make room")
        name = self.hands.world.names[chain_of(chain_pem).fingerprint]
        if self.service in self.hands.world.paused and name not in self.mail.had:
            raise Violation(f"at {self.hands.world.t:g}: {self.service} is paused, and {name} is installed")
        self.hands.world.say(f"{name} is written into the live file of {self.service}")
        if name != self.mail.live:
            self.hands.world.judge.brought(self.mail, name)
        self.mail.write(name, by_tool=True)
        self._excuse_broken(name)
        self.hands.world.judge.check()
        self.hands.boundary("after the install")
        return f"{self.mail.written}"

    def _excuse_broken(self, name: str) -> None:
        if name in self.mail.broken:
            self.hands.world.judge.met["a certificate that the mail server cannot use was deployed"] += 1

    async def reload(self) -> None:
        self.hands.boundary("before the reload")
        if self.hands.take("reload fails"):
            raise ServerError("postfix reload: exit 1", hint="postfix check")
        self.hands.world.say(f"reload of {self.service}")
        if self.mail.theirs and any(not it.deaf and it.shows != self.mail.live for it in self.mail.places):
            self.hands.world.judge.brought(self.mail, self.mail.live)
        self.mail.theirs = False
        self.mail.reload()
        self.hands.world.judge.check()
        self.hands.boundary("after the reload")

    def check(self) -> tuple[Finding, ...]:
        return ()
