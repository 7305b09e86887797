"""What is wrong with a certificate: each fault its own code, and a hint that helps."""

from __future__ import annotations

import hashlib
import subprocess
import time
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from rollover.core.certificate import (
    Fault,
    Rejected,
    chain_from_der,
    check,
    covers,
    facts,
    key_spki,
    parse_chain,
    parse_key,
    trusted,
)
from rollover.core.errors import EX_DATAERR, CertificateError
from tests.pki import ALGORITHMS, DAY, HOST, NOW, SERVER_AUTH, Made, key, make, pki

PKI = pki()
OTHER = pki("rsa")
LEAF, MIDDLE, ROOT = PKI.full
IMPOSTOR = make("Intermediate", PKI.root, private=key(label="impostor"), ca=True)
NO_CA = make("Intermediate", PKI.root, private=PKI.intermediate.key)


def sound(**changes) -> Made:
    """Return a leaf under PKI that is right but for *changes*."""
    fields = {"private": PKI.leaf.key, "names": (HOST,), "extensions": (SERVER_AUTH,)} | changes
    return make(fields.pop("subject", ""), fields.pop("issuer", PKI.intermediate), **fields)


def refusal(leaf: Made, *above: Made, private=None, hosts=(HOST,), **options) -> CertificateError:
    """Return the error with which check() refuses the chain."""
    with pytest.raises(CertificateError) as caught:
        check(
            chain_from_der([leaf.der, *(made.der for made in above or (PKI.intermediate,))]),
            private or leaf.key,
            hosts=hosts,
            now=NOW,
            **options,
        )
    assert caught.value.exit_code == EX_DATAERR
    assert caught.value.hint
    return caught.value


def test_facts_of_a_leaf() -> None:
    """What status prints of a certificate is what the certificate says."""
    names = x509.SubjectAlternativeName(
        [
            x509.DNSName("Mail.Example.ORG"),
            x509.DNSName("xn--bcher-kva.example"),
            x509.IPAddress(ip_address("2001:db8::1")),
        ]
    )
    made = make("", PKI.intermediate, private=key("rsa", "leaf"), extensions=(names,), end=60 * DAY)
    found = facts(chain_from_der([made.der]))

    assert found.fingerprint == made.certificate.fingerprint(hashes.SHA256()).hex()
    assert found.spki_sha256 == hashlib.sha256(key_spki(made.key)).hexdigest()
    assert found.names == ("mail.example.org", "xn--bcher-kva.example", "2001:db8::1")
    assert (found.not_before, found.not_after) == (NOW - DAY, NOW + 60 * DAY)
    assert found.algorithm == "rsa"
    assert found.issuer == "CN=Intermediate"
    assert not found.self_signed
    assert int(found.serial, 16) == made.certificate.serial_number


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [("rsa", "rsa"), ("p256", "ecdsa"), ("p384", "ecdsa"), ("ed25519", "ed25519"), ("p521", ""), ("rsa1024", "")],
)
def test_algorithm_of_a_leaf(algorithm: str, expected: str) -> None:
    """The algorithm is told by family, and is empty for what is not supported."""
    made = make("alone", private=key(algorithm, "alone"))
    found = facts(chain_from_der([made.der]))

    assert found.algorithm == expected
    assert found.self_signed
    assert found.names == ()


def test_facts_of_a_leaf_that_cannot_be_decoded() -> None:
    """Names that are no names are refused, not passed over."""
    broken = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), b"\x30\x03garbage")
    made = make("broken", extensions=(broken,))

    with pytest.raises(CertificateError, match="cannot be decoded"):
        facts(chain_from_der([made.der]))


@pytest.mark.parametrize(
    ("name", "host", "expected"),
    [
        ("mail.example.org", "mail.example.org", True),
        ("mail.example.org", "Mail.Example.Org.", True),
        ("mail.example.mx", "MAIL.EXAMPLE.MX", True),
        ("mail.example.org", "example.org", False),
        ("example.org", "mail.example.org", False),
        ("*.example.org", "mail.example.org", True),
        ("*.example.org", "a.mail.example.org", False),
        ("*.example.org", "example.org", False),
        ("*.example.org", ".example.org", False),
        ("*.org", "example.org", False),
        ("*", "localhost", False),
        ("m*.example.org", "mail.example.org", False),
        ("mail.*.org", "mail.example.org", False),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", True),
        ("*.example.org", "xn--bcher-kva.example.org", True),
    ],
)
def test_covers(name: str, host: str, expected: bool) -> None:
    """A wildcard stands for exactly one whole label, the first one, and for no top level."""
    assert covers([name], host) is expected


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_sound_certificate_passes(algorithm: str) -> None:
    """A chain with its key, for its name, in its time, is not refused."""
    p = pki(algorithm)

    for ders in (p.ders, p.full):
        check(chain_from_der(ders), p.leaf.key, hosts=[HOST], now=NOW, minimum_remaining=59 * DAY)


def test_a_self_signed_certificate_passes() -> None:
    """A self-signed certificate with the CA flag that `openssl req -x509` sets is served by many."""
    made = make("", private=PKI.leaf.key, names=(HOST,), ca=True)

    check(chain_from_der([made.der]), made.key, hosts=[HOST], now=NOW)


def test_every_host_must_be_covered() -> None:
    """A certificate for one of two hosts is refused, naming the other; a wildcard covers both."""
    two = (HOST, "mx2.example.org")
    error = refusal(sound(), hosts=two)

    assert error.code == Fault.NAME
    assert "is for mail.example.org, not for mx2.example.org" in error.message
    assert "mx2.example.org" in error.hint
    wild = sound(names=("*.example.org",))
    check(chain_from_der([wild.der, MIDDLE]), wild.key, hosts=two, now=NOW)


def test_a_common_name_is_no_name() -> None:
    """A certificate with its name in the subject only is refused: senders with MTA-STS do not look there."""
    error = refusal(sound(subject=HOST, names=()))

    assert error.code == Fault.NAME
    assert "is for no name" in error.message


@pytest.mark.fault(36)
def test_a_key_of_another_certificate() -> None:
    """A key that does not belong to the certificate is refused."""
    error = refusal(sound(), private=OTHER.leaf.key)

    assert error.code == Fault.KEY_MISMATCH
    assert isinstance(error, Rejected)
    assert error.fault is Fault.KEY_MISMATCH


@pytest.mark.parametrize(
    ("start", "end", "fault", "instant"),
    [
        (-9 * DAY, -timedelta(seconds=1), Fault.EXPIRED, "2026-11-22T13:59:59Z"),
        (timedelta(seconds=1), DAY, Fault.NOT_YET_VALID, "2026-11-22T14:00:01Z"),
    ],
    ids=["expired", "not yet valid"],
)
def test_dates(start: timedelta, end: timedelta, fault: Fault, instant: str) -> None:
    """One second outside its time a certificate is refused, with the instant and the clock's time."""
    error = refusal(sound(start=start, end=end))

    assert error.code == fault
    assert instant in error.message
    assert "2026-11-22T14:00:00Z" in error.message
    assert "clock" in error.hint


def test_the_first_and_the_last_second_count() -> None:
    """A certificate is valid from notBefore to notAfter, both included (RFC 5280 §4.1.2.5)."""
    for leaf in (sound(start=timedelta(0)), sound(start=-9 * DAY, end=timedelta(0))):
        check(chain_from_der([leaf.der, MIDDLE]), leaf.key, hosts=[HOST], now=NOW)


def test_too_little_time_left() -> None:
    """A certificate that would expire before the rollover ends is refused, and passes without that demand."""
    leaf = sound(end=2 * DAY)

    assert refusal(leaf, minimum_remaining=timedelta(days=2, seconds=1)).code == Fault.EXPIRES_SOON
    check(chain_from_der([leaf.der, MIDDLE]), leaf.key, hosts=[HOST], now=NOW, minimum_remaining=2 * DAY)


def test_an_expired_intermediate() -> None:
    """An intermediate out of date is refused by its name; a root is not, for senders have their own."""
    old = make("Intermediate", PKI.root, private=PKI.intermediate.key, ca=True, start=-9 * DAY, end=-DAY)
    error = refusal(sound(), old)
    root = make("Root", private=PKI.root.key, ca=True, start=-9 * DAY, end=-DAY)

    assert error.code == Fault.EXPIRED
    assert "CN=Intermediate" in error.message
    check(chain_from_der([LEAF, MIDDLE, root.der]), PKI.leaf.key, hosts=[HOST], now=NOW)


def test_a_certificate_of_a_ca() -> None:
    """A CA's certificate in first place is refused, with the right file named."""
    error = refusal(PKI.intermediate, PKI.root)

    assert error.code == Fault.IS_CA
    assert "CN=Intermediate" in error.message
    assert "fullchain.pem" in error.hint


@pytest.mark.fault(37)
@pytest.mark.parametrize(
    "above",
    [(IMPOSTOR,), (PKI.root,), (PKI.intermediate, OTHER.root), (PKI.leaf, PKI.intermediate), (NO_CA,)],
    ids=["another key", "intermediate missing", "a stranger at the end", "leaf twice", "no CA"],
)
def test_a_broken_chain(above: tuple[Made, ...]) -> None:
    """A certificate that did not issue the one before it is refused."""
    error = refusal(PKI.leaf, *above)

    assert error.code == Fault.CHAIN_BROKEN
    assert "fullchain" in error.hint


USAGE = x509.KeyUsage(False, False, False, False, False, False, True, False, False)  # CRL signing only
CLIENT = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])


@pytest.mark.parametrize("extension", [CLIENT, USAGE], ids=["for clients", "for signing lists"])
def test_a_certificate_for_another_purpose(extension: x509.ExtensionType) -> None:
    """A certificate whose extensions shut out TLS servers is refused."""
    error = refusal(sound(extensions=(extension,)))

    assert error.code == Fault.PURPOSE
    assert "serverAuth" in error.hint


@pytest.mark.parametrize("used", [0, 2, 4], ids=["signature", "encipherment", "agreement"])
def test_one_use_of_a_key_that_tls_has_is_enough(used: int) -> None:
    """A key that may sign, or encipher keys, or agree on them, serves TLS."""
    usage = x509.KeyUsage(*(place == used for place in range(9)))
    leaf = sound(extensions=(usage,))

    check(chain_from_der([leaf.der, MIDDLE]), leaf.key, hosts=[HOST], now=NOW)


def test_a_certificate_without_purposes_passes() -> None:
    """Without the extension every purpose is allowed."""
    leaf = sound(extensions=())

    check(chain_from_der([leaf.der, MIDDLE]), leaf.key, hosts=[HOST], now=NOW)


@pytest.mark.parametrize("algorithm", ["rsa1024", "p521", "ed448"])
def test_an_algorithm_that_senders_may_lack(algorithm: str) -> None:
    """A certificate with a key that is too short or unusual is refused, with those that will do."""
    error = refusal(sound(private=key(algorithm)))

    assert error.code == Fault.ALGORITHM
    assert "P-256" in error.hint


def test_a_signature_that_can_be_forged() -> None:
    """A certificate that its CA signed with SHA-1 is refused."""
    sha256, sha1 = (bytes.fromhex(f"06092a864886f70d0101{last}") for last in ("0b", "05"))  # …WithRSAEncryption
    chain = chain_from_der([OTHER.leaf.der.replace(sha256, sha1), OTHER.intermediate.der])

    with pytest.raises(CertificateError, match="signed with sha1") as caught:
        check(chain, OTHER.leaf.key, hosts=[HOST], now=NOW)

    assert caught.value.code == Fault.ALGORITHM


def test_an_rsa_pss_certificate(tmp_path: Path) -> None:
    """A certificate for RSA-PSS only is refused: the library would take its key for plain RSA."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048", "-nodes"]
    command += ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "leaf.pem"), "-subj", "/CN=pss"]
    subprocess.run(command, capture_output=True, check=True)
    chain = parse_chain((tmp_path / "leaf.pem").read_bytes())

    with pytest.raises(CertificateError) as caught:
        check(chain, parse_key((tmp_path / "key.pem").read_bytes()), hosts=[], now=NOW)

    assert caught.value.code == Fault.ALGORITHM
    assert caught.value.message == "the certificate's key is of type RSA-PSS, or names no standard curve"
    assert facts(chain).algorithm == ""


def test_every_fault_has_a_code_of_its_own() -> None:
    """The codes are distinct, and are not the code of the common error."""
    codes = [fault.value for fault in Fault]

    assert len(set(codes)) == len(codes)
    assert CertificateError.code not in codes


OUTSIDE = make("Outside", ca=True)
CONSTRAINED = make(
    "Intermediate",
    PKI.root,
    private=PKI.intermediate.key,
    ca=True,
    extensions=(x509.NameConstraints([x509.DNSName("example.net")], None),),
)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_chain_to_a_known_root_is_trusted(algorithm: str) -> None:
    """With its root in the store a chain is trusted, whether or not the server sends the root."""
    p = pki(algorithm)

    for ders in (p.ders, p.full):
        assert trusted(chain_from_der(ders), roots=[OUTSIDE.der, p.root.der, b"junk"], hosts=[HOST], now=NOW) == ""


UNTRUSTED = {
    "no roots": (PKI.ders, (), (HOST,), NOW, "unable to get local issuer certificate"),
    "another root": (PKI.ders, (OUTSIDE,), (HOST,), NOW, "unable to get local issuer certificate"),
    "another root of that name": (
        PKI.ders,
        (make("Root", private=key(label="false"), ca=True),),
        (HOST,),
        NOW,
        "signature",
    ),
    "root sent, not stored": (PKI.full, (), (HOST,), NOW, "self-signed certificate in certificate chain"),
    "intermediate missing": ([LEAF], (PKI.root,), (HOST,), NOW, "unable to get local issuer certificate"),
    "an intermediate as root": (PKI.ders, (PKI.intermediate,), (HOST,), NOW, "unable to get issuer certificate"),
    "another host": (PKI.ders, (PKI.root,), (HOST, "mx2.example.org"), NOW, "does not name mx2.example.org"),
    "later": (PKI.ders, (PKI.root,), (HOST,), NOW + 61 * DAY, "expired"),
    "earlier": (PKI.ders, (PKI.root,), (HOST,), NOW - 2 * DAY, "not yet valid"),
    "for clients": ([sound(extensions=(CLIENT,)).der, MIDDLE], (PKI.root,), (HOST,), NOW, "not meant for TLS servers"),
    "outside of a name constraint": ([LEAF, CONSTRAINED.der], (PKI.root,), (HOST,), NOW, "subtree"),
    "self-signed": ([make("", private=PKI.leaf.key, names=(HOST,)).der], (PKI.root,), (HOST,), NOW, "self-signed"),
}


@pytest.mark.parametrize(("ders", "roots", "hosts", "now", "reason"), UNTRUSTED.values(), ids=UNTRUSTED)
def test_a_chain_that_is_not_trusted(ders, roots, hosts, now, reason: str) -> None:
    """What a sender that follows MTA-STS would not trust is not trusted here, with its reason."""
    found = trusted(chain_from_der(ders), roots=[root.der for root in roots], hosts=hosts, now=now)

    assert reason in found
    assert "\n" not in found


def test_a_chain_sent_in_disorder_is_trusted() -> None:
    """Senders build the path themselves: duplicates, strangers and another order do not matter."""
    chain = chain_from_der([LEAF, PKI.root.der, b"junk", OTHER.root.der, LEAF, MIDDLE])

    assert trusted(chain, roots=[PKI.root.der], hosts=[HOST], now=NOW) == ""


def test_the_time_zone_of_the_host_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL is asked in UTC: nine hours east nothing expires nine hours early."""
    leaf = sound(end=timedelta(hours=1))
    monkeypatch.setenv("TZ", "JST-9")
    time.tzset()
    try:
        assert trusted(chain_from_der([leaf.der, MIDDLE]), roots=[ROOT], hosts=[HOST], now=NOW) == ""
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_self_signed_certificate_in_the_store_is_trusted() -> None:
    """A private certificate that the host was told to trust is trusted."""
    alone = make("", private=PKI.leaf.key, names=(HOST,))

    assert trusted(chain_from_der([alone.der]), roots=[alone.der], hosts=[HOST], now=NOW) == ""
