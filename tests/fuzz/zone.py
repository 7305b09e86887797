"""A signed zone of the harnesses: its key, and signatures over whatever an answer holds."""

from __future__ import annotations

import dns.dnssec
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from rollover.dns.resolver import ZoneKeys
from tests.pki import DAY, NOW

ZONE = dns.name.from_text("example.org.")
OWNER = dns.name.from_text("_25._tcp.mail.example.org.")
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))  # the same in every run: corpora hold its signatures
DNSKEY = dns.dnssec.make_dnskey(PRIVATE.public_key(), dns.dnssec.Algorithm.ED25519, flags=257)
KEYS = ZoneKeys(dns.rrset.from_rdata(ZONE, 3600, DNSKEY))


def signed(rrset: dns.rrset.RRset, *, labels: int | None = None) -> dns.rrset.RRset:
    """Return the signatures over *rrset*; with fewer *labels*, as if it came from a wildcard."""
    over = rrset
    if labels is not None and labels < len(rrset.name) - 1:
        wildcard = dns.name.Name([b"*"]).concatenate(rrset.name.split(labels + 1)[1])
        over = dns.rrset.from_rdata_list(wildcard, rrset.ttl, list(rrset))
    rrsig = dns.dnssec.sign(
        over,
        PRIVATE,
        ZONE,
        DNSKEY,
        inception=(NOW - DAY).timestamp(),
        expiration=(NOW + DAY).timestamp(),
    )
    found = dns.rrset.RRset(rrset.name, dns.rdataclass.IN, dns.rdatatype.RRSIG, rrset.rdtype)
    found.add(rrsig, rrset.ttl)
    return found
