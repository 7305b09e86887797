"""Our judgement of TLSA records against that of OpenSSL, danetool and ldns-dane.

A real TLS server presents each chain on a loopback port; `openssl s_client` verifies it with each
RRset, as an SMTP sender would have it do. All answers are collected once, then compared.
"""

from __future__ import annotations

import contextlib
import functools
import random
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from rollover.core.certificate import chain_from_der, key_pem
from rollover.core.sender import Conclusion, verdict
from rollover.core.tlsa import Chain, Link, RRset, Tlsa, association, combinations, record, usable, valid
from tests.pki import ALGORITHMS, DAY, HOST, NOW, SERVER_AUTH, Made, identifiers, key, make, pki

STRANGER = make("stranger", private=key(label="stranger"), ca=True)
SELECTORS_AND_TYPES = [(s, m) for s in (0, 1) for m in (0, 1, 2)]


@dataclass(frozen=True)
class Served:
    """What a server presents; *sound* when dates, name and purpose are right from the leaf to the root."""

    presented: tuple[Made, ...]
    related: tuple[Made, ...]  # the certificates that records may name, presented or not
    sound: bool = True

    @functools.cached_property
    def chain(self) -> Chain:
        """The chain as a probe would see it."""
        return chain_from_der([made.der for made in self.presented])


def _served() -> dict[str, Served]:
    table: dict[str, Served] = {}
    for algorithm in ALGORITHMS:
        p = pki(algorithm)
        full = (p.leaf, p.intermediate, p.root)
        table[f"{algorithm} with the root"] = Served(full, full)
    p = pki("p256")
    leaf, middle, root = p.leaf, p.intermediate, p.root
    full = (leaf, middle, root)

    def variant(leaf: Made, middle: Made = middle, root: Made = root, *, sound: bool = False) -> Served:
        return Served((leaf, middle, root), (leaf, middle, root), sound)

    table["without the root"] = Served((leaf, middle), full)
    table["the leaf alone"] = Served((leaf,), full)
    table["root before intermediate"] = Served((leaf, root, middle), full)
    table["leaf twice"] = Served((leaf, leaf, middle, root), full)
    table["a stranger in between"] = Served((leaf, STRANGER, middle, root), full)
    named, auth = {"names": (HOST,), "extensions": (SERVER_AUTH,)}, {"extensions": (SERVER_AUTH,)}
    older = make("Older root", private=key(label="older"), ca=True)
    cross = make("Root", older, private=root.key, ca=True)
    table["cross-signed root after the root"] = Served((*full, cross), (*full, cross, older), sound=True)
    table["cross-signed root instead"] = Served((leaf, middle, cross), (leaf, middle, cross, older), sound=True)
    first, second = key(label="first"), key(label="second")
    one = make("One", make("Two", private=second, ca=True), private=first, ca=True)
    two = make("Two", make("One", private=first, ca=True), private=second, ca=True)
    circle = make("", one, private=leaf.key, **named)
    table["two CAs that signed each other"] = Served((circle, one, two), (circle, one, two), sound=True)
    impostor = make("Intermediate", root, private=key(label="impostor"), ca=True)
    table["impostor before the intermediate"] = Served((leaf, impostor, middle, root), (*full, impostor), sound=True)
    table["impostor after the intermediate"] = Served((leaf, middle, impostor, root), (*full, impostor), sound=True)
    marked = make("Marked", private=first, ca=True, extensions=identifiers(first))
    other = make("Marked", private=second, ca=True, extensions=identifiers(second))
    below = make("", marked, private=leaf.key, names=(HOST,), extensions=identifiers(leaf.key, first))
    table["impostor with another key identifier"] = Served((below, other, marked), (below, marked, other), sound=True)
    old = make("Intermediate", root, private=middle.key, ca=True, start=-90 * DAY, end=-DAY)
    table["expired intermediate before the renewed one"] = Served((leaf, old, middle), (*full, old), sound=False)
    table["leaf expired"] = variant(make("", middle, private=leaf.key, start=-9 * DAY, end=-DAY, **named))
    table["leaf not yet valid"] = variant(make("", middle, private=leaf.key, start=DAY, **named))
    table["leaf of another name"] = variant(make("", middle, private=leaf.key, names=("mx.example.net",), **auth))
    table["leaf with a wildcard"] = variant(
        make("", middle, private=leaf.key, names=("*.example.org",), **auth), sound=True
    )
    table["leaf with a wildcard too high"] = variant(make("", middle, private=leaf.key, names=("*.org",), **auth))
    table["leaf with a common name only"] = variant(make(HOST, middle, private=leaf.key, **auth), sound=True)
    table["common name beside another name"] = variant(
        make(HOST, middle, private=leaf.key, names=("mx.example.net",), **auth)
    )
    client = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    table["leaf for clients"] = variant(make("", middle, private=leaf.key, names=(HOST,), extensions=(client,)))
    table["intermediate expired"] = variant(leaf, old)
    table["root expired"] = variant(leaf, middle, make("Root", private=root.key, ca=True, start=-90 * DAY, end=-DAY))
    table["intermediate is no CA"] = variant(leaf, make("Intermediate", root, private=middle.key))
    table["intermediate with another key"] = variant(leaf, impostor)
    short = make("Short", private=key(label="short"), ca=True, pathlen=0)
    below = make("Intermediate", short, private=middle.key, ca=True)
    table["path longer than the root allows"] = variant(leaf, below, short)
    alone = make("", private=leaf.key, names=(HOST,), ca=True)
    table["self-signed"] = Served((alone,), (alone, root))
    table["self-signed twice"] = Served((alone, alone), (alone, root))
    return table


SERVED = _served()


def single_records(served: Served) -> Iterator[Tlsa]:
    """Every selector and matching type, right and wrong, for the leaf, its issuers and a stranger."""
    for made in (*served.related, STRANGER):
        link = chain_from_der([made.der]).links[0]
        for selector, mtype in SELECTORS_AND_TYPES:
            for usage in (2, 3):
                yield Tlsa(usage, selector, mtype, association(link, selector, mtype))


def rrsets(served: Served, seed: int) -> list[RRset]:
    """The single records, those with junk beside them, and several at once drawn from a fixed seed."""
    # SHA2-512 alone is tried with every algorithm of keys; the odd chains see it beside SHA2-256.
    singles = [rr for rr in dict.fromkeys(single_records(served)) if rr.mtype != 2 or seed < len(ALGORITHMS)]
    junk = [
        Tlsa(3, 1, 1, b"\x01" * 31),  # a digest too short
        Tlsa(3, 1, 2, b"\x02" * 32),  # SHA2-256 that claims to be SHA2-512
        Tlsa(3, 2, 1, b"\x03" * 32),  # no such selector
        Tlsa(3, 1, 9, b"\x04" * 32),  # no such matching type
        Tlsa(7, 1, 1, b"\x05" * 32),  # no such usage
        Tlsa(3, 0, 0, b"no certificate"),
        Tlsa(2, 1, 0, b"no key"),
        Tlsa(1, 1, 1, association(served.chain.links[0], 1, 1)),  # PKIX-EE, and right
        Tlsa(0, 0, 1, association(served.chain.links[-1], 0, 1)),  # PKIX-TA, and right
    ]
    draw = random.Random(seed)
    several = [frozenset(draw.sample(singles, draw.randint(2, 4))) for _ in range(8)]
    mixed = [frozenset([draw.choice(singles), rr]) for rr in junk]
    return [frozenset([rr]) for rr in singles + junk] + during_a_rollover(served) + several + mixed


def during_a_rollover(served: Served) -> list[RRset]:
    """What a careful publisher has beside the present key: the next one, another digest, the issuer."""
    leaf, after = served.chain.links[0], chain_from_der([STRANGER.der]).links[0]
    issuer = chain_from_der([served.related[1].der]).links[0]

    def rr(usage: int, selector: int, mtype: int, link: Link = leaf) -> Tlsa:
        return Tlsa(usage, selector, mtype, association(link, selector, mtype))

    return [
        frozenset([rr(3, 1, 1), rr(3, 1, 1, after)]),
        frozenset([rr(3, 1, 1), rr(3, 1, 1, after), rr(3, 1, 2), rr(3, 1, 2, after)]),
        frozenset([rr(3, 1, 1), rr(3, 1, 2, after)]),  # a digest for the next key only: agility hides 3 1 1
        frozenset([rr(3, 1, 1), rr(3, 0, 1)]),
        frozenset([rr(3, 1, 1), rr(2, 1, 1, issuer)]),
        frozenset([rr(3, 1, 1), rr(2, 1, 1, after)]),
        frozenset([rr(2, 1, 1, issuer), rr(2, 1, 1, after)]),
        frozenset([rr(2, 0, 1, issuer), rr(2, 0, 2, after)]),
    ]


@dataclass(frozen=True)
class Answer:
    """What OpenSSL made of one RRset: ACCEPTS, REJECTS, or ENCRYPT_ONLY when it could use no record."""

    name: str
    served: Served
    rrset: RRset
    conclusion: Conclusion

    def __str__(self) -> str:
        return f"{self.name}: {sorted(map(str, self.rrset))}"[:300]


@contextlib.contextmanager
def tls_server(directory: Path, served: Served) -> Iterator[int]:
    """Present the chain to every connection, until the block ends; yield the port."""
    file = directory / "chain.pem"
    file.write_bytes(key_pem(served.presented[0].key) + b"".join(made.pem for made in served.presented))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed: the end
                return
            with connection, contextlib.suppress(OSError):  # the client may hang up on our certificate
                connection.settimeout(20)
                with context.wrap_socket(connection, server_side=True) as tls:
                    tls.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(timeout=20)


def ask_openssl(port: int, rrset: RRset) -> Conclusion:
    """Return what `openssl s_client` concludes. PKIX usages are not shown to it: SMTP senders do not either.

    Source: RFC 7672 §3.1.3; Postfix drops them before it calls OpenSSL.
    """
    shown = [rr for rr in rrset if rr.usage not in (0, 1)]
    if not shown:
        return Conclusion.ENCRYPT_ONLY
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-verify_return_error"]
    command += ["-no-CAfile", "-no-CApath", "-no-CAstore", "-attime", str(int(NOW.timestamp()))]
    command += ["-dane_tlsa_domain", HOST, "-dane_ee_no_namechecks"]
    for rr in shown:
        command += ["-dane_tlsa_rrdata", f"{rr.usage} {rr.selector} {rr.mtype} {rr.association.hex()}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    if "Failed to import any TLSA records" in done.stderr:
        return Conclusion.ENCRYPT_ONLY
    if done.returncode == 0:
        assert "Verification: OK" in done.stdout, done.stdout + done.stderr
        return Conclusion.ACCEPTS
    assert "verify error" in done.stderr, done.stdout + done.stderr
    return Conclusion.REJECTS


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[Answer]:
    """OpenSSL's answers for every chain and RRset."""
    tmp_path_factory.getbasetemp()  # made here, once: the threads below would race for it

    def collect(numbered: tuple[int, str]) -> list[Answer]:
        number, name = numbered
        served = SERVED[name]
        with tls_server(tmp_path_factory.mktemp("served"), served) as port:
            return [Answer(name, served, rrset, ask_openssl(port, rrset)) for rrset in rrsets(served, number)]

    with ThreadPoolExecutor(2) as pool:
        return [answer for part in pool.map(collect, enumerate(SERVED)) for answer in part]


@pytest.mark.parametrize("name", SERVED)
def test_verdict_agrees_with_openssl(answers: list[Answer], name: str) -> None:
    """The verdict of a sender is that of OpenSSL, for each RRset on this chain."""
    mine = [a for a in answers if a.name == name]
    differences = [
        f"{a} OpenSSL {a.conclusion}, we {ours}"
        for a in mine
        if (ours := verdict(a.rrset, a.served.chain, names=[HOST], now=NOW)).conclusion != a.conclusion
    ]

    assert mine
    assert not differences, "\n".join(differences)


def test_many_combinations_with_both_outcomes(answers: list[Answer]) -> None:
    """OpenSSL judged at least 200 combinations itself, and often either way."""
    judged = [a for a in answers if any(rr.usage not in (0, 1) for rr in a.rrset)]
    counts = {c: sum(a.conclusion is c for a in judged) for c in Conclusion}

    assert len({(a.name, a.rrset) for a in judged}) >= 200
    assert counts[Conclusion.ACCEPTS] >= 100
    assert counts[Conclusion.REJECTS] >= 100
    assert counts[Conclusion.ENCRYPT_ONLY] >= 20


def test_valid_implies_accepted(answers: list[Answer]) -> None:
    """An RRset that is valid for a chain never makes OpenSSL reject it.

    Where only usage 2 is left, names and dates have to be right as well: valid() knows neither.
    """
    claimed = [
        a
        for a in answers
        if valid(a.rrset, a.served.chain)
        and (a.served.sound or any(usage == 3 for usage, _, _ in combinations(a.rrset)))
    ]

    assert [str(a) for a in claimed if a.conclusion is Conclusion.REJECTS] == []
    assert sum(a.conclusion is Conclusion.ACCEPTS for a in claimed) >= 100
    assert sum(len([rr for rr in a.rrset if usable(rr)]) > 1 for a in claimed) >= 20


def test_valid_is_stricter_than_openssl(answers: list[Answer]) -> None:
    """Some RRsets satisfy OpenSSL and leave another sender without a match: they are not valid."""
    lenient = [a for a in answers if a.conclusion is Conclusion.ACCEPTS and not valid(a.rrset, a.served.chain)]

    assert any(len({rr.usage for rr in a.rrset}) == 2 for a in lenient)
    assert any(combinations(a.rrset) == {(2, 0, 0)} for a in lenient)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(("selector", "mtype"), SELECTORS_AND_TYPES)
def test_association_agrees_with_ldns(tmp_path: Path, algorithm: str, selector: int, mtype: int) -> None:
    """ldns-dane makes the same DANE-EE record from the same certificate."""
    made = pki(algorithm).leaf
    (file := tmp_path / "leaf.pem").write_bytes(made.pem)
    command = ["ldns-dane", "-c", str(file), "create", HOST, "25", "3", str(selector), str(mtype)]
    line = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split()

    assert line[0] == "_25._tcp.mail.example.org."
    assert Tlsa.parse(" ".join(line[line.index("TLSA") + 1 :])) == record(
        chain_from_der([made.der]), (3, selector, mtype)
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(("mtype", "digest"), [(1, "sha256"), (2, "sha512")])
@pytest.mark.parametrize(("selector", "option"), [(0, ["--x509"]), (1, [])], ids=["certificate", "key"])
def test_association_agrees_with_danetool(
    tmp_path: Path, algorithm: str, selector: int, option: list[str], mtype: int, digest: str
) -> None:
    """danetool, which makes digests only, makes the same DANE-EE record from the same certificate."""
    made = pki(algorithm).leaf
    (file := tmp_path / "leaf.pem").write_bytes(made.pem)
    command = ["danetool", "--tlsa-rr", "--host", HOST, "--port", "25", "--load-certificate", str(file)]
    command += ["--hash", digest, *option]
    line = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    assert line.startswith("_25._tcp.mail.example.org. IN TLSA (")
    assert Tlsa.parse(line[line.index("(") + 1 : line.index(")")]) == record(
        chain_from_der([made.der]), (3, selector, mtype)
    )
