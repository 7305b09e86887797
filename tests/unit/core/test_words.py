"""What an administrator reads when something is refused or fails, word for word: at 03:00 the words are the tool."""

from __future__ import annotations

import base64
import errno
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from rollover.core import errors, goals
from rollover.core.certificate import chain_from_der, check, facts, parse_chain, parse_key, split_pem, trusted
from rollover.core.errors import RolloverError, StateBusy, words
from rollover.core.model import Book, Standing, State, World
from rollover.core.path import listed, path_problem, printable
from rollover.core.sender import verdict
from rollover.core.tlsa import Tlsa, association
from tests.pki import DAY, HOST, NOW, Made, key, make, pki
from tests.unit.core import worlds
from tests.unit.core.worlds import credential, fp, past, world

PKI = pki()
LEAF, MIDDLE, ROOT = PKI.full
FULLCHAIN = PKI.leaf.pem + PKI.intermediate.pem
KEY_PEM = PKI.leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
AGAIN = "the file may still be being written: try again, or copy it anew from the ACME client"
WHOLE = "give the PEM file with the whole chain, for certbot fullchain.pem; if it is being written, try again"
ORDER = "order a certificate with a key of RSA of 2048 bits or more, ECDSA P-256, ECDSA P-384, Ed25519"


def refused(act: Callable[[], object]) -> tuple[str, str]:
    """Return message and hint of the error that *act* ends with."""
    with pytest.raises(RolloverError) as caught:
        act()
    return caught.value.message, caught.value.hint


def pem(algorithm: str) -> bytes:
    """Return a key of *algorithm* as PEM."""
    return key(algorithm).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def checked(made: Made, *above: Made, private: object = None, **options: object) -> Callable[[], object]:
    """Return what checks the chain of *made*."""
    chain = chain_from_der([made.der, *(x.der for x in above or (PKI.intermediate,))])
    return lambda: check(chain, private or made.key, **({"hosts": [HOST], "now": NOW} | options))


def leaf(**changes: object) -> Made:
    """Return a leaf under PKI that is right but for *changes*."""
    return make("", PKI.intermediate, **({"private": PKI.leaf.key, "names": (HOST,)} | changes))


CLIENT = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH])
OLD = make("Intermediate", PKI.root, private=PKI.intermediate.key, ca=True, start=-9 * DAY, end=-DAY)
REFUSED: dict[str, tuple[Callable[[], object], str, str]] = {
    "no certificate": (lambda: parse_chain(b""), "no PEM certificate found", WHOLE),
    "too many": (
        lambda: parse_chain(PKI.leaf.pem * 33),
        "33 certificates in one file: no chain has more than 32",
        WHOLE,
    ),
    "not base64": (
        lambda: parse_chain(FULLCHAIN.replace(b"MII", b"M*II", 1)),
        "a CERTIFICATE block is not base64",
        WHOLE,
    ),
    "no certificate within": (
        lambda: parse_chain(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        "a certificate cannot be decoded",
        WHOLE,
    ),
    "cut off": (
        lambda: parse_chain(FULLCHAIN[:-30]),
        "a PEM block begins and does not end: the file is truncated",
        AGAIN,
    ),
    "no chain at all": (lambda: chain_from_der([]), "no certificate was given", WHOLE),
    "in another order": (
        lambda: parse_chain(PKI.leaf.pem + PKI.root.pem + PKI.intermediate.pem),
        "certificates in the wrong order: CN=Intermediate stands after its issuer",
        "put the server's own certificate first, then each issuer after what it issued (fullchain.pem)",
    ),
    "two keys": (
        lambda: split_pem(KEY_PEM + FULLCHAIN + KEY_PEM),
        "2 private keys in one file; one was expected",
        "a service has one key: split the file, one service for each key",
    ),
    "two keys in a key file": (
        lambda: parse_key(KEY_PEM * 3),
        "3 private keys in one file; one was expected",
        "a service has one key: split the file, one service for each key",
    ),
    "no key": (
        lambda: parse_key(FULLCHAIN),
        "no PEM private key found",
        "name the key file, for certbot privkey.pem; for a combined file, the file with both",
    ),
    "an encrypted key": (
        lambda: parse_key(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"),
        "the private key is encrypted; a mail server starts without anyone to type a passphrase",
        "store it decrypted, mode 0600: openssl pkey -in KEY -out NEWKEY",
    ),
    "no key within": (
        lambda: parse_key(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        "the private key cannot be decoded",
        "see what openssl says: openssl pkey -check -noout -in KEY",
    ),
    "a short key": (lambda: parse_key(pem("rsa1024")), "an RSA key of 1024 bits is too short", ORDER),
    "an unusual curve": (lambda: parse_key(pem("p521")), "elliptic curve secp521r1 is not supported", ORDER),
    "another algorithm": (lambda: parse_key(pem("ed448")), "the key's algorithm is not supported", ORDER),
    "another key": (
        checked(leaf(), private=key()),
        "the private key does not belong to the certificate for mail.example.org",
        "give the key that stands beside this certificate; a renewal may have been caught half-way: try again",
    ),
    "another host": (
        checked(leaf(names=(HOST, "mx.example.org")), hosts=[HOST, "mx2.example.org"]),
        "the certificate is for mail.example.org, mx.example.org, not for mx2.example.org",
        "order one that names mx2.example.org too, or correct `hosts` of the service",
    ),
    "a CA": (
        checked(PKI.intermediate, PKI.root),
        "the first certificate is one of a certificate authority: CN=Intermediate",
        "put the server's own certificate first; for certbot use fullchain.pem, not chain.pem",
    ),
    "for clients": (
        checked(leaf(extensions=(CLIENT,))),
        "the certificate is not meant for TLS servers (key usage or extended key usage)",
        "order one with the extended key usage serverAuth",
    ),
    "a broken chain": (
        checked(leaf(), PKI.intermediate, PKI.intermediate),
        "the chain is broken: the certificate after CN=Intermediate did not issue it",
        "use the fullchain file as the ACME client wrote it, with no certificate twice",
    ),
    "not yet valid": (
        checked(leaf(start=DAY)),
        "the certificate is not valid before 2026-11-23T14:00:00Z; it is 2026-11-22T14:00:00Z",
        "if this host's clock is wrong, correct it; else deploy again then",
    ),
    "expired": (
        checked(leaf(start=-9 * DAY, end=-DAY)),
        "the certificate expired at 2026-11-21T14:00:00Z; it is 2026-11-22T14:00:00Z",
        "renew it; if this host's clock is wrong, correct it",
    ),
    "an expired intermediate": (
        checked(leaf(), OLD),
        "CN=Intermediate expired at 2026-11-21T14:00:00Z; it is 2026-11-22T14:00:00Z",
        "renew it; if this host's clock is wrong, correct it",
    ),
    "expires soon": (
        checked(leaf(end=DAY), minimum_remaining=2 * DAY),
        "the certificate expires at 2026-11-23T14:00:00Z, sooner than a rollover can be finished",
        "renew it first",
    ),
}


@pytest.mark.parametrize(("act", "message", "hint"), REFUSED.values(), ids=REFUSED)
def test_what_a_refused_certificate_or_key_is_told(act: Callable[[], object], message: str, hint: str) -> None:
    """What is wrong with which certificate, and what to do now."""
    assert refused(act) == (message, hint)


def altered(made: Made, old: str, new: str) -> bytes:
    """Return the DER of *made* with an object identifier, in hex, replaced."""
    assert bytes.fromhex(old) in made.der
    return made.der.replace(bytes.fromhex(old), bytes.fromhex(new))


def test_an_algorithm_that_nobody_knows_is_told_as_such() -> None:
    """Of a certificate's key, and of its signature: two different things to order anew."""
    private = key("ed25519", "leaf")
    no_key = altered(leaf(private=private), "06032b6570", "06032b657f")
    rsa = pki("rsa")
    no_signature = altered(rsa.leaf, "06092a864886f70d01010b", "06092a864886f70d01017f")
    options = {"hosts": [HOST], "now": NOW}

    assert refused(lambda: check(chain_from_der([no_key]), private, **options)) == (
        "the certificate's key is of an unknown algorithm",
        ORDER,
    )
    assert refused(lambda: check(chain_from_der([no_signature]), rsa.leaf.key, **options)) == (
        "the certificate is signed with an unknown algorithm",
        ORDER,
    )


def test_a_key_of_an_algorithm_that_nobody_knows_is_told_as_such() -> None:
    """A key of next year is not taken for a broken file."""
    der = key("ed25519").private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    odd = base64.b64encode(der.replace(bytes.fromhex("06032b6570"), bytes.fromhex("06032b657f")))
    block = b"-----BEGIN PRIVATE KEY-----\n%s\n-----END PRIVATE KEY-----\n" % odd

    assert refused(lambda: parse_key(block)) == ("the private key's algorithm is unknown", ORDER)


def test_a_certificate_that_only_openssl_reads_is_told_without_a_name() -> None:
    """A date that does not exist, in a file of trusted CAs; and what is no certificate at all."""
    root = PKI.root.der.replace(b"261121140000Z", b"261199140000Z")
    assert root != PKI.root.der

    assert trusted(chain_from_der(PKI.ders), roots=[root], hosts=[HOST], now=NOW) == (
        "format error in certificate's notBefore field: a certificate that cannot be decoded"
    )
    assert path_problem(chain_from_der(PKI.ders), [b"junk"], now=NOW) == "a certificate on the path cannot be decoded"


def test_what_cannot_be_decoded_is_named_by_its_number() -> None:
    """An extension or an issuer that is nonsense: the serial number is what is left to find the certificate by."""
    broken = make("broken", extensions=(x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), b"\x30\x03x"),))
    number = f"{broken.certificate.serial_number:x}"

    assert refused(lambda: facts(chain_from_der([broken.der]))) == (
        f"an extension of certificate {number} cannot be decoded",
        WHOLE,
    )
    odd = make("leaf", make("Odd!", ca=True))
    number = f"{odd.certificate.serial_number:x}"
    assert refused(lambda: facts(chain_from_der([odd.der.replace(b"Odd!", b"\xff\xfe\xfd\xfc")]))) == (
        f"the issuer of certificate {number} cannot be decoded",
        WHOLE,
    )


def test_names_for_messages_are_one_line_that_moves_no_cursor() -> None:
    """Anybody can write into a certificate; what cannot be printed is a question mark."""
    assert printable("a\x1b[2Jb\nc") == "a?[2Jb?c"
    assert listed(["a.example", "b.example"]) == "a.example, b.example"
    assert listed([]) == "no name"


ELSEWHERE = "the certificate is for mail.example.org, not for example.net or mx.example.net"
ISSUER = Tlsa(2, 1, 1, association(chain_from_der([MIDDLE]).links[0], 1, 1))
OWN = Tlsa(3, 1, 1, association(chain_from_der([LEAF]).links[0], 1, 1))
OTHER = Tlsa(3, 1, 1, bytes(32))
VERDICTS = {
    "no record": ([], [HOST], "no TLSA record"),
    "none that a sender may use": ([Tlsa(1, 1, 1, bytes(32))], [HOST], "no usable TLSA record"),
    "its own": ([OWN, OTHER], [HOST], "the certificate of the server matches"),
    "its issuer's": ([ISSUER, OTHER], [HOST], "an issuer of the server's certificate matches"),
    "its issuer's, under another name": (
        [ISSUER],
        ["example.net", "mx.example.net"],
        f"2 1 1 matches, but: {ELSEWHERE}",
    ),
    "somebody else's": ([OTHER], [HOST], "no TLSA record matches the chain"),
}


@pytest.mark.parametrize(("records", "names", "reason"), VERDICTS.values(), ids=VERDICTS)
def test_what_a_sender_concludes_is_told_in_one_line(records: list[Tlsa], names: list[str], reason: str) -> None:
    """Why mail is delivered, or why not."""
    assert verdict(frozenset(records), chain_from_der(PKI.full), names=names, now=NOW).reason == reason


def test_a_name_that_only_openssl_reads_is_told_as_such() -> None:
    """A certificate without DNS names whose common name is in no encoding: nobody can say whom it is for."""
    odd = make("Odd!", PKI.intermediate)
    covered = odd.certificate.tbs_certificate_bytes.replace(b"\x0c\x04Odd!", b"\x14\x04\xff\xfe\xfd\xfc")
    signature = PKI.intermediate.key.sign(covered, ec.ECDSA(hashes.SHA256()))
    parts = covered + bytes.fromhex("300a06082a8648ce3d040302") + bytes([3, len(signature) + 1, 0]) + signature
    chain = chain_from_der([b"\x30\x82" + len(parts).to_bytes(2, "big") + parts, MIDDLE])

    assert verdict(frozenset([ISSUER]), chain, names=[HOST], now=NOW).reason == (
        "2 1 1 matches, but: its names cannot be decoded"
    )


def trust(made: Made, *roots: Made, now: object = NOW, hosts: tuple[str, ...] = (HOST,)) -> str:
    """Return why a chain of *made* and the intermediate is not trusted."""
    chain = chain_from_der([made.der, MIDDLE])
    return trusted(chain, roots=[x.der for x in roots], hosts=hosts, now=now)


def test_why_a_chain_is_not_trusted_is_told_with_the_certificate() -> None:
    """The reason, and which certificate of the chain it is about."""
    root = PKI.root
    assert trust(PKI.leaf, root) == ""
    assert trust(PKI.leaf, root, hosts=(HOST, "b.example", "c.example")) == "the certificate does not name b.example"
    assert trust(PKI.leaf, root, now=NOW + 61 * DAY) == "certificate has expired: mail.example.org"
    assert trust(PKI.leaf) == "unable to get local issuer certificate: CN=Intermediate"
    assert trust(leaf(extensions=(CLIENT,)), root) == "not meant for TLS servers: mail.example.org"


# ------------------------------------------------------------------------------------- goals

KNOWN, WANTED = "known already; nothing changes", "it is wanted"
QUEUED = "it is queued: another certificate is on its way and will be first"
WAITING = [past("A", -50), past("A B", None)]


def over(**it: object) -> World:
    """Return a world in which B is active and A was replaced."""
    states = {"B": Standing(State.ACTIVE, fp("A")), "A": Standing(State.RETIRED)}
    return world("B", "B", **{"loaded": "B", "states": states, **it})


def back(**it: object) -> World:
    """Return the same in the middle of a rollback."""
    return over(**it) if not it else replace(over(), book=replace(over().book, **it))


def test_what_becomes_of_a_certificate_is_told_to_its_hook() -> None:
    """The ACME client's log says whether it is wanted, queued, or known."""
    assert goals.deploy(world(), fp("A"), worlds.NOW)[1] == KNOWN
    assert goals.deploy(world(), fp("B"), worlds.NOW)[1] == WANTED
    assert goals.deploy(replace(world(), book=Book()), fp("B"), worlds.NOW)[1] == WANTED
    assert goals.deploy(world("B", ledger=WAITING), fp("C"), worlds.NOW)[1] == QUEUED


A16, B16 = fp("A")[:16], fp("B")[:16]
LISTED = "`rollover history mail` lists the fingerprints; eight digits or more are enough"
TWIN = replace(credential("C"), fingerprint=fp("A")[:20] + "0" * 44)
UNDER_WAY = replace(over().book, goal=fp("A"), rollback=True)
GOALS: dict[str, tuple[World, dict[str, object], str, str]] = {
    "never another one": (
        world(),
        {},
        "there is no previous certificate",
        "name one with --to FINGERPRINT; `rollover history mail` lists them",
    ),
    "gone from the vault": (
        over(vault="B"),
        {},
        f"certificate {A16} or its key is not in the vault any more",
        "hand it over again: `rollover deploy FULLCHAIN KEY`, or name another one with --to",
    ),
    "expired": (
        over(vault="B", more=[credential("A", days=-1)]),
        {},
        f"certificate {A16} expired at 2026-11-21T14:00:00Z",
        "renew instead, and `rollover deploy` the new one; or name another one with --to",
    ),
    "revoked": (
        over(states={"B": Standing(State.ACTIVE, fp("A")), "A": State.REVOKED}),
        {},
        f"the key of certificate {A16} is revoked",
        "order a certificate with a new key and deploy it",
    ),
    "nobody's name": (over(), {"to": "0123:4567"}, "--to '01234567' is no certificate in the vault", LISTED),
    "the name of two": (
        over(more=[TWIN]),
        {"to": fp("A")[:8]},
        f"--to '{fp('A')[:8]}' names more than one certificate",
        LISTED,
    ),
}


@pytest.mark.parametrize(("it", "options", "message", "hint"), GOALS.values(), ids=GOALS)
def test_why_a_rollback_is_refused(it: World, options: dict[str, str], message: str, hint: str) -> None:
    """Which certificate, why not, and what can be done instead."""
    assert refused(lambda: goals.rollback(it, worlds.NOW, **options)) == (message, hint)


def test_what_a_rollback_does_is_told() -> None:
    """Also when it changes nothing."""
    under_way = replace(over(), book=UNDER_WAY)
    done = replace(over(), book=replace(UNDER_WAY, active=fp("A")))

    assert goals.rollback(over(), worlds.NOW)[1] == f"certificate {A16} is wanted"
    assert goals.rollback(over(), worlds.NOW, to=fp("B"))[1] == (
        f"certificate {B16} is already the wanted one; nothing changes"
    )
    assert goals.rollback(under_way, worlds.NOW)[1] == (f"a rollback to {A16} is already under way; nothing changes")
    assert goals.rollback(under_way, worlds.NOW, hurry=True)[1] == f"no more waiting for {A16}"
    assert goals.rollback(done, worlds.NOW)[1] == (
        f"{A16} is served after a rollback; nothing changes. Name another one with --to"
    )


# ------------------------------------------------------------------------------------- errors


NEXT = "nothing is lost, the next run goes on"
ERRORS = {
    "ours": (StateBusy("the database is held", hint="wait"), ("the database is held", "wait", 75)),
    "no permission": (
        PermissionError(errno.EACCES, "Permission denied", "/etc/x"),
        ("/etc/x: Permission denied", "run this as root", 77),
    ),
    "read-only": (
        OSError(errno.EROFS, "Read-only file system", "/etc/x"),
        (
            "/etc/x: Read-only file system",
            "that file system is mounted read-only: remount it; nothing is lost",
            73,
        ),
    ),
    "full": (
        OSError(errno.ENOSPC, "No space left on device", "/var/x"),
        ("/var/x: No space left on device", f"make room on that file system; {NEXT}", 73),
    ),
    "quota": (
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        ("Disk quota exceeded", f"make room on that file system; {NEXT}", 73),
    ),
    "anything else": (
        OSError(errno.EIO, "Input/output error"),
        ("Input/output error", f"see what is wrong there; {NEXT}", 74),
    ),
    "without a reason": (ConnectionError(), ("ConnectionError", f"see what is wrong there; {NEXT}", 74)),
}


@pytest.mark.parametrize(("error", "told"), ERRORS.values(), ids=ERRORS)
def test_an_error_is_two_lines_and_an_exit_code(error: Exception, told: tuple[str, str, int]) -> None:
    """Message, hint, and the code of sysexits(3), for what the system says too."""
    assert words(error, "rollover 1.0") == told


def test_each_kind_of_error_has_its_exit_code_and_its_name() -> None:
    """sysexits(3), for scripts; the name for `status`; none is tried again unless it says so."""
    kinds = {
        errors.UsageError: (64, "usage"),
        errors.ConfigError: (78, "configuration"),
        errors.CertificateError: (65, "certificate-rejected"),
        errors.PermissionsError: (77, "permissions"),
        errors.CannotWrite: (73, "cannot-write"),
        errors.StateError: (74, "state"),
        errors.CannotStore: (73, "state"),
        errors.StateBusy: (75, "state"),
        errors.Busy: (75, "busy"),
        errors.ServerError: (69, "server"),
        errors.OurBug: (70, "bug"),
        errors.RolloverError: (70, "error"),
    }

    assert {kind: (kind.exit_code, kind.code) for kind in kinds} == kinds
    assert not any(kind.retryable for kind in kinds)


def test_a_bug_is_told_by_its_place_and_quotes_nothing() -> None:
    """Type, file and line; its text may be a key."""
    report = "the mail server goes on with what it serves; run it again as `rollover --verbose …` and report what that prints"
    try:
        raise KeyError("-----BEGIN PRIVATE KEY-----")
    except KeyError as error:
        message, hint, code = words(error, "rollover 1.0")
        line = error.__traceback__.tb_lineno

    assert (message, hint, code) == (f"a bug in rollover 1.0: KeyError in test_words.py, line {line}", report, 70)
    assert words(KeyError("x"), "rollover 1.0")[0] == "a bug in rollover 1.0: KeyError"
