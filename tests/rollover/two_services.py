"""Two services whose owners are CNAMEs to one target: what is done for one of them concerns the other.

    both = TwoServices(lab, mail={}, other={})  # adopted: "mail" at the first MX, "other" at the second
    both.advance_until("other", lambda it: it["phase"] == "waiting")

The lab has to be started with TWO_MX: senders take either of the hosts, as their preferences are the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from tests.lab import Certificate, Lab, wait_for
from tests.lab import addresses as at
from tests.lab.zones import owner
from tests.rollover.driving import Service, forget_caches, left_by_advance

OTHER_NAME = "mail2.example.test"
OTHER_OWNER = owner(25, f"{OTHER_NAME}.")
TWO_MX = {
    "owner": "cname",
    "extra": "\n".join(
        [
            f"@ MX 10 {OTHER_NAME}.",
            f"{OTHER_NAME}. A {at.MX_SECOND}",
            f"{OTHER_OWNER} CNAME {at.CNAME_TARGET}",
        ]
    ),
}


class TwoServices:
    """The services "mail" and "other", which share the RRset at CNAME_TARGET, each with a Postfix of its own."""

    def __init__(self, lab: Lab, *, mail: Mapping[str, object], other: Mapping[str, object]) -> None:
        """Adopt both; *mail* and *other* are keys of their configuration."""
        self.lab = lab
        self.first = self.certificate()
        """What "other" serves at first; "mail" serves `lab.old`."""
        self.mx = lab.second_mx(self.first)
        self.chain_file = lab.chain_file.parent / "other.pem"
        lab.primary.update(f"update add {at.CNAME_TARGET} {lab.ttl} TLSA {self.first.tlsa}")
        self.records_are(lab.old, self.first)
        forget_caches(lab)
        self.configure(mail=mail, other=other)
        for name in ("mail", "other"):
            lab.rollover("adopt", name, check=0)
            self.advance_until(name, lambda it: it["phase"] == "steady")

    def configure(self, *, mail: Mapping[str, object], other: Mapping[str, object]) -> None:
        """Write the configuration of both anew."""
        postfix = {
            "kind": "postfix",
            "chain_file": str(self.chain_file),
            "config_directory": str(self.mx.config_directory),
        }
        common = {"check_every": "30s", "verify_timeout": "30s"}
        service = {"hosts": [OTHER_NAME], "trust": str(self.lab.trust_file), "install": [postfix]}
        self.lab.configure(**common, **mail, services={"other": service | common | dict(other)})

    def certificate(self) -> Certificate:
        """Issue a certificate for "other"."""
        return self.lab.certificate(names=[OTHER_NAME])

    def served(self) -> str:
        """Return the SPKI SHA-256 that "other" presents."""
        return self.lab.served(at.MX_SECOND)

    def records(self) -> tuple[str, ...]:
        """Return the shared RRset at the primary."""
        return self.lab.primary.tlsa(at.CNAME_TARGET).records

    def records_are(self, *certificates: Certificate) -> None:
        """Wait until the shared RRset is the records of these on both servers."""
        wanted = tuple(sorted(c.tlsa for c in certificates))
        for server in (self.lab.primary, self.lab.secondary):
            wait_for(lambda server=server: server.tlsa(at.CNAME_TARGET).records == wanted, f"{server.name} has them")

    def hand_over(self, new: Certificate) -> None:
        """Do as the hook of "other" does; its record is published then, by the next tick at the latest."""
        self.lab.deploy(new, "--service", "other", check=0)
        self.advance_until("other", lambda _: new.tlsa in self.records(), at_first=False)

    def advance_until(
        self, name: str, done: Callable[[Service], bool], *, at_first: bool = True, seconds: float = 120
    ) -> Service:
        """Run `advance NAME` until *done*; return the service then. *at_first*: once at the least."""
        deadline = time.monotonic() + seconds
        while True:
            if at_first:
                ticked = self.lab.rollover("advance", name)
                assert ticked.returncode in {0, 1, 75}, ticked
            it = left_by_advance(name)
            if done(it):
                return it
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {it}"
            time.sleep(0.5 if at_first else 0.0)
            at_first = True
