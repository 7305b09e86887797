"""A name server that answers anything: garbage, another's id, malformed records."""

from __future__ import annotations

from collections.abc import Callable

import dns.flags
import dns.message
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from . import addresses as at
from .listener import Listener, Transport

Reply = Callable[[bytes], bytes | None]
"""Takes a query's octets, returns the answer's; None is silence."""


class JunkServer(Listener):
    """Answers each query on *address* with `reply(query)`, over UDP and TCP."""

    name = "junk-server"

    def __init__(self, reply: Reply, address: str = at.SPARE[0]) -> None:
        super().__init__(address, self._answer)
        self.reply = reply
        self.queries = 0
        """Messages that arrived."""

    def _answer(self, message: bytes, transport: Transport) -> bytes | None:
        del transport
        self.queries += 1
        return self.reply(message)


def silence(query: bytes) -> None:
    """Answer nothing."""
    del query


def garbage(query: bytes) -> bytes:
    """Answer octets that are no DNS message, after the right id."""
    return query[:2] + b"\xff" * 40


def wrong_id(query: bytes) -> bytes:
    """Answer the question well under an id that nobody asked with."""
    answer = bytearray(dns.message.make_response(_parsed(query)).to_wire())
    answer[0] ^= 0xFF
    return bytes(answer)


def truncated(query: bytes) -> bytes:
    """Answer with the TC flag and no records, over TCP as well."""
    response = dns.message.make_response(_parsed(query))
    response.flags |= dns.flags.TC | dns.flags.AA
    return response.to_wire()


def cut_short(query: bytes) -> bytes:
    """Answer with a message that ends in the middle of a record."""
    return tlsa(b"\x03\x01\x01" + bytes(32))(query)[:-10]


def wrong_class(query: bytes) -> bytes:
    """Answer with a TLSA record of class CH."""
    return tlsa(b"\x03\x01\x01" + bytes(32), rdclass=dns.rdataclass.CH)(query)


def tlsa(
    *rdata: bytes, ttl: int = 20, rdclass: dns.rdataclass.RdataClass = dns.rdataclass.IN
) -> Callable[[bytes], bytes]:
    """Return a function that answers with TLSA records of any octets, well-formed or not."""

    def reply(query: bytes) -> bytes:
        question = _parsed(query)
        response = dns.message.make_response(question)
        response.flags |= dns.flags.AA
        generic = [f"\\# {len(octets)} {octets.hex()}" for octets in rdata]
        # An unassigned type carries the octets past dnspython's own checks; its code is then
        # put right in the wire form.
        name = question.question[0].name
        stand_in = dns.rdatatype.RdataType.make(65280)
        response.answer.append(dns.rrset.from_text_list(name, ttl, rdclass, stand_in, generic))
        code = (65280).to_bytes(2, "big") + int(rdclass).to_bytes(2, "big")
        right = int(dns.rdatatype.TLSA).to_bytes(2, "big") + int(rdclass).to_bytes(2, "big")
        return response.to_wire(max_size=65535).replace(code, right)

    return reply


def _parsed(query: bytes) -> dns.message.Message:
    # The question alone: these servers know no TSIG key, and their answers are unsigned.
    return dns.message.from_wire(query, question_only=True)
