"""What tells of the past: an smtpd that outlives a reload, a signature that was made at another time."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dns.message
import dns.query
import dns.rdatatype
from cryptography import x509

from tests.lab import Lab
from tests.lab import addresses as at
from tests.lab.certificates import spki_of


@contextmanager
def old_process(address: str) -> Iterator[Callable[[], str]]:
    """Keep an smtpd busy within the block, through whatever reload comes; yields what tells the key that it presents.

    That may be asked once. An smtpd has read its certificate when it greets, and a reload lets it finish.
    """
    with smtplib.SMTP(address, 25, local_hostname="lab.test", timeout=60) as session:
        session.ehlo()

        def presents() -> str:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            session.starttls(context=context)
            assert isinstance(session.sock, ssl.SSLSocket)
            der = session.sock.getpeercert(binary_form=True)
            assert der is not None
            return spki_of(x509.load_der_x509_certificate(der))

        yield presents


def inception(lab: Lab, owner: str = at.OWNER) -> int:
    """Return when the primary says to have signed the TLSA RRset of *owner*, in seconds."""
    query = dns.message.make_query(owner, "TLSA", want_dnssec=True)
    answer = dns.query.tcp(query, lab.primary.address, timeout=5).answer
    (signature,) = (x for rrset in answer if rrset.rdtype == dns.rdatatype.RRSIG for x in rrset)
    return int(signature.inception)
