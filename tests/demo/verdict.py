"""The verdict: what became of the mail in the two renewals, and the exit code that follows from it."""

from __future__ import annotations

from rich.text import Text

from .scene import Mail, Scene
from .screen import RENEWALS, Glyphs


def exit_code(usual: Mail, tool: Mail) -> int:
    """Return 0 if rollover deferred nothing and the usual way did; else 1: nothing was shown."""
    fine = tool.messages > 0 and tool.deferred == 0 and tool.other == 0
    return 0 if fine and usual.deferred > 0 else 1


def lines(scene: Scene, *, ttl: int, per_second: int, width: int, glyphs: Glyphs) -> list[Text]:
    """Return the last screen."""
    usual, tool = scene.mail
    made = [
        Text(f"The same renewal twice: certbot, a new key, TTL {ttl} s, {per_second} messages a second.", "bold"),
        Text(),
    ]
    for number, (name, mail) in enumerate(zip(RENEWALS, scene.mail, strict=True), 1):
        made.append(Text(f" {number}  {name}", "bold"))
        made += [Text("    ") + row for row in _strip(mail, width - 5, glyphs)]
        made += [_told(mail), Text()]
    made += [
        Text(f"    {glyphs.good} one second, all mail delivered   {glyphs.bad} one second, some mail deferred", "dim"),
        Text(),
        *(Text(f" {line}") for line in _meaning(usual, tool, ttl)),
    ]
    return made


def _strip(mail: Mail, width: int, glyphs: Glyphs) -> list[Text]:
    rows = []
    for start in range(0, len(mail.seconds), width):
        row = Text()
        for _, deferred in mail.seconds[start : start + width]:
            row.append(glyphs.bad if deferred else glyphs.good, "bold red" if deferred else "green")
        rows.append(row)
    return rows


def _told(mail: Mail) -> Text:
    text = Text(f"    {mail.messages} messages, ")
    text.append(f"{mail.deferred} deferred", "bold red" if mail.deferred else "bold green")
    if mail.deferred:
        text.append(f", in {mail.bad_seconds} seconds of it")
    return text.append(f". TLS connections: Verified {mail.verified}, other {mail.other}.")


def _meaning(usual: Mail, tool: Mail, ttl: int) -> list[str]:
    if exit_code(usual, tool) == 0:
        return [
            "What is deferred waits in the sender's queue, until a later attempt meets a resolver",
            f"that has let the old record go: up to one TTL. That was {ttl} s here; with the usual",
            "hour, mail is deferred for up to an hour. rollover adds the record first, and waits.",
            "All counts are from the logs of the two sending Postfix servers.",
        ]
    if usual.deferred == 0:
        return ["The usual way deferred nothing this time: the comparison shows nothing. Run it again."]
    return ["rollover deferred mail, or senders could not authenticate the server: that must not be."]
