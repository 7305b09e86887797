"""Names and TLSA RRsets, between the words of core and those of dnspython."""

from __future__ import annotations

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from rollover.core.tlsa import EMPTY, RRset, Tlsa

A = dns.rdatatype.A
AAAA = dns.rdatatype.AAAA
CNAME = dns.rdatatype.CNAME
DNAME = dns.rdatatype.DNAME
DNSKEY = dns.rdatatype.DNSKEY
NS = dns.rdatatype.NS
NSEC = dns.rdatatype.NSEC
NSEC3 = dns.rdatatype.NSEC3
RRSIG = dns.rdatatype.RRSIG
SOA = dns.rdatatype.SOA
TLSA = dns.rdatatype.TLSA

MAX_RECORDS = 100
"""An RRset of more TLSA records is not believed; BIND refuses to load one (max-records-per-type)."""


def to_name(text: str) -> dns.name.Name:
    """Return the absolute domain name *text*. Raises ValueError for what is none."""
    try:
        return dns.name.from_text(text).canonicalize()
    except dns.exception.DNSException as error:
        raise ValueError(f"not a domain name: {text!r}") from error


def to_text(name: dns.name.Name) -> str:
    """Return *name* as core writes names: absolute, lower case."""
    return name.canonicalize().to_text()


def tlsa_rrset(rrset: dns.rrset.RRset | None) -> RRset:
    """Return the TLSA records of *rrset*, malformed ones included (see Tlsa)."""
    if rrset is None:
        return EMPTY
    return frozenset(Tlsa.from_wire(rdata.to_wire() or b"") for rdata in rrset)


def tlsa_rdata(record: Tlsa) -> dns.rdata.Rdata:
    """Return *record* as octets that travel unchanged, whatever they are."""
    return dns.rdata.GenericRdata(dns.rdataclass.IN, TLSA, record.to_wire())
