"""The verdict: what became of the mail in the two renewals, and the exit code that follows from it."""

from __future__ import annotations

import textwrap

from rich.text import Text

from .scene import Mail, Scene, log_line
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
        Text(f"Each sign is one second: {glyphs.good} all mail delivered, {glyphs.bad} mail deferred.", "dim"),
        Text(),
    ]
    for number, (name, mail) in enumerate(zip(RENEWALS, scene.mail, strict=True), 1):
        made.append(Text(f" {number}  {name}", "bold"))
        made += [Text("    ") + row for row in _strip(mail, width - 5, glyphs)]
        made += [_told(mail), Text()]
    made += [Text(f" {line}") for line in textwrap.wrap(_meaning(usual, tool, ttl), width - 2)]
    if scene.log:
        last = log_line(scene.log[-1])[2]
        made += [*(Text(f" {x}") for x in textwrap.wrap(f"{scene.log_title} ends with: {last}.", width - 2))]
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
        text.append(f", within {mail.bad_seconds} s")
    return text.append(f"; TLS: Verified {mail.verified}, other {mail.other}.")


def _meaning(usual: Mail, tool: Mail, ttl: int) -> str:
    if exit_code(usual, tool) == 0:
        return (
            "Mail was deferred until the senders had let the old record go, one TTL after they fetched it: "
            f"some {ttl} s here, up to an hour with the usual TTL. rollover publishes the new record beside the "
            "old one, waits until nobody can hold the old one alone, and only then installs the certificate. "
            "All counts are from the logs of the two sending Postfix servers."
        )
    if usual.deferred == 0:
        return "The usual way deferred nothing this time, so that nothing is shown. Run it again."
    return "rollover deferred mail, or a sender could not authenticate the server by DANE: that must not be."
