"""`rollover tlsa`: records of a certificate or a key, for a zone file or for a look beside DNS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from rollover.cli.inputs import read_pem
from rollover.config import network, values
from rollover.core.certificate import key_spki, parse_chain, parse_key, split_pem
from rollover.core.errors import CertificateError, UsageError
from rollover.core.tlsa import Chain, Link, Params, owner_name, record

T = TypeVar("T")


def tlsa(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="PEM file of a certificate, a chain or a key; - for stdin.")
    ],
    host: Annotated[
        str | None, typer.Option(metavar="H", help="Print whole records of this host's owner name.")
    ] = None,
    port: Annotated[int | None, typer.Option(metavar="P", help="Port of the owner name; 25 without it.")] = None,
    records: Annotated[
        list[str] | None, typer.Option(metavar='"3 1 1"', help="Usage, selector, matching type; may be repeated.")
    ] = None,
) -> None:
    """Print the TLSA records of a certificate or key.

    Nothing is looked up and nothing is changed. A key alone has the records
    of selector 1, which is all that a renewal with the same key needs.
    """
    if port is not None and host is None:
        raise UsageError("--port without --host", hint="name the host too: --host mail.example.org")
    number = 25 if port is None else port
    if not 1 <= number <= 65535:
        raise UsageError(f"--port {number}: no such port", hint="a port is a number from 1 to 65535")
    combinations = tuple(_read("--records", values.record, text) for text in records or ["3 1 1"])
    owner = ""
    if host is not None:
        owner = f"{owner_name(_read('--host', network.host_name, host), number)} IN TLSA "
    chain = _chain(file, combinations)
    for params in combinations:
        print(f"{owner}{record(chain, params)}")


def _read(option: str, reader: Callable[[Any], T], text: str) -> T:
    """Return what *reader* makes of the value of *option*; raises UsageError."""
    try:
        return reader(text)
    except values.Wrong as wrong:
        raise UsageError(f'{option} "{text}": {wrong.problem}', hint=wrong.right) from None


def _chain(file: Path, combinations: tuple[Params, ...]) -> Chain:
    """Return what is in *file*; of a key alone, a leaf that has nothing but the key.

    Raises CertificateError, also when certificate and key in one file do not belong together.
    """
    content = read_pem(file)
    try:
        key_part, chain_part = split_pem(content)
        key = key_spki(parse_key(key_part)) if key_part is not None else None
        chain = parse_chain(chain_part) if chain_part or key is None else Chain((Link(der=b"", spki=key),))
    except CertificateError as error:
        raise CertificateError(f"{file}: {error.message}", hint=error.hint) from None
    if key is not None and chain.links[0].spki != key:
        raise CertificateError(
            f"{file}: the key does not belong to the first certificate", hint="put the leaf first, with its own key"
        )
    if not chain.links[0].der and any(selector == 0 for _, selector, _ in combinations):
        raise CertificateError(
            f"{file}: a key alone has no records of selector 0",
            hint='they are made of the certificate: name its file, or ask for --records "3 1 1"',
        )
    return chain
