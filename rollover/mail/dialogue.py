"""What is said before and after the TLS handshake: SMTP, IMAP, POP3, or nothing.

Each conversation is finished in the protocol's own words, also after a refusal: a postmaster must
not find "lost connection after STARTTLS" in the log because of us.
"""

from __future__ import annotations

from typing import Protocol

from rollover.mail.wire import MAX_REPLY_LINES, Wire, WireError, words


class NoGreeting(Exception):
    """The server's first words were no welcome; the message has them."""


class NoStartTls(Exception):
    """Greeted, but TLS was not offered or was refused; the message has the server's words."""


class Dialogue(Protocol):
    """One protocol. Each method raises WireError when the peer hangs up or talks nonsense."""

    async def greeting(self, wire: Wire) -> None:
        """Read the welcome. Raises NoGreeting."""
        ...

    async def ask_for_tls(self, wire: Wire) -> None:
        """Bring the server to the point where the handshake begins. Raises NoStartTls."""
        ...

    async def farewell(self, wire: Wire) -> None:
        """End the session, in TLS or not, and hear the answer."""
        ...


class Smtp:
    """RFC 5321 with STARTTLS of RFC 3207."""

    def __init__(self, helo: str = "") -> None:
        self._helo = helo

    async def greeting(self, wire: Wire) -> None:
        code, lines = await self._reply(wire)
        if code != 220:
            raise NoGreeting(lines[-1])

    async def ask_for_tls(self, wire: Wire) -> None:
        await wire.send(f"EHLO {self._helo or wire.address_literal}")
        code, lines = await self._reply(wire)
        if code != 250:
            raise NoStartTls(lines[-1])
        if "STARTTLS" not in (line[4:].strip().upper() for line in lines[1:]):
            raise NoStartTls("STARTTLS is not offered")
        await wire.send("STARTTLS")
        code, lines = await self._reply(wire)
        if code != 220:
            raise NoStartTls(lines[-1])

    async def farewell(self, wire: Wire) -> None:
        await wire.send("QUIT")
        await self._reply(wire)

    async def _reply(self, wire: Wire) -> tuple[int, list[str]]:
        """Return code and lines of one reply, continuation lines included (RFC 5321 §4.2)."""
        lines: list[str] = []
        for _ in range(MAX_REPLY_LINES):
            line = await wire.line()
            if not (line[:3].isdigit() and line[3:4] in (b"", b" ", b"-")):
                raise WireError(f"does not speak SMTP: {words(line)}")
            lines.append(words(line))
            if line[3:4] != b"-":
                return int(line[:3]), lines
        raise WireError(f"sent a reply of more than {MAX_REPLY_LINES} lines")


class Imap:
    """RFC 9051 with STARTTLS of its §6.2.1."""

    async def greeting(self, wire: Wire) -> None:
        line = await wire.line()
        if line[:4].upper() != b"* OK":
            # PREAUTH is a welcome, but rules out STARTTLS (RFC 9051 §7.1.4).
            raise (NoStartTls if line[:9].upper() == b"* PREAUTH" else NoGreeting)(words(line))

    async def ask_for_tls(self, wire: Wire) -> None:
        lines = await self._command(wire, "a CAPABILITY")
        offered = {word.upper() for line in lines if line.upper().startswith("* CAPABILITY") for word in line.split()}
        if "STARTTLS" not in offered:
            raise NoStartTls("STARTTLS is not offered")
        answer = (await self._command(wire, "b STARTTLS"))[-1]
        if answer[:4].upper() != "B OK":
            raise NoStartTls(answer)

    async def farewell(self, wire: Wire) -> None:
        await self._command(wire, "z LOGOUT")

    async def _command(self, wire: Wire, command: str) -> list[str]:
        """Return the answer's lines, the tagged one last."""
        await wire.send(command)
        lines: list[str] = []
        for _ in range(MAX_REPLY_LINES):
            lines.append(words(await wire.line(), 1000))
            if lines[-1][:2].lower() == command[:2]:
                return lines
        raise WireError(f"sent an answer of more than {MAX_REPLY_LINES} lines")


class Pop3:
    """RFC 1939 with STLS of RFC 2595 §4."""

    async def greeting(self, wire: Wire) -> None:
        line = await wire.line()
        if line[:3].upper() != b"+OK":
            raise NoGreeting(words(line))

    async def ask_for_tls(self, wire: Wire) -> None:
        await wire.send("STLS")
        line = await wire.line()
        if line[:3].upper() != b"+OK":
            raise NoStartTls(words(line))

    async def farewell(self, wire: Wire) -> None:
        await wire.send("QUIT")
        await wire.line()


class Silent:
    """A protocol that we do not speak: TLS from the first octet, closed after the handshake."""

    async def greeting(self, wire: Wire) -> None:
        return

    async def ask_for_tls(self, wire: Wire) -> None:
        return

    async def farewell(self, wire: Wire) -> None:
        return


IMPLICIT_TLS = {465, 993, 995}  # RFC 8314 §3


def dialogue(port: int, helo: str = "") -> tuple[Dialogue, bool]:
    """Return the protocol spoken on *port*, and whether TLS comes before its first word.

    Ports that are not of mail are taken for TLS alone, but for 2525 and 10025, where people put SMTP.
    """
    if port in (25, 587, 465, 2525, 10025):
        return Smtp(helo), port in IMPLICIT_TLS
    if port in (143, 993):
        return Imap(), port in IMPLICIT_TLS
    if port in (110, 995):
        return Pop3(), port in IMPLICIT_TLS
    return Silent(), True
