"""The live view on a terminal of 80×24 or more. `frame` is a pure function of a Scene and a size."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from rich.text import Text

from .scene import Cache, Mail, Scene, duration, log_line

SMALLEST = (60, 20)
"""Columns and lines; below that plain lines are printed instead."""
WIDEST = 120
TITLE = "A new certificate for a mail server with DANE, twice"
RENEWALS = ("the usual way: install, reload, change the record", "with rollover")
_LABEL = 12
_COLOURS = {"old": "yellow", "old + new": "cyan", "new": "green"}


@dataclass(frozen=True)
class Glyphs:
    """The characters of bars and strips, for terminals that show UTF-8 and for those that do not."""

    good: str
    bad: str
    done: str
    todo: str
    rule: str
    cut: str


FINE = Glyphs("·", "×", "━", "─", "─", "…")
ASCII = Glyphs(".", "x", "#", "-", "-", "..")


def frame(scene: Scene, width: int, height: int, glyphs: Glyphs = FINE) -> list[Text]:
    """Return the lines of the view, none wider than *width*, no more than *height*."""
    width = min(width, WIDEST)
    lines = [
        *_score(scene, width, glyphs),
        *_doing(scene, width, glyphs),
        Text(),
        *_servers(scene),
        *_caches(scene),
        Text(),
        *_mail(scene, width, glyphs),
        Text(),
    ]
    lines += _log(scene, height - len(lines) - 1)
    lines += [Text()] * (height - len(lines) - 1)
    lines.append(Text(" Ctrl-C ends it at any time; nothing is left behind.", "dim"))
    return [_cut(line, width, glyphs) for line in lines[:height]]


def strip(mail: Mail, width: int, glyphs: Glyphs) -> Text:
    """Return one character for each of the last *width* seconds: all delivered, or some deferred."""
    text = Text()
    for _, deferred in mail.seconds[-width:]:
        text.append(glyphs.bad if deferred else glyphs.good, "bold red" if deferred else "green")
    return text


def _score(scene: Scene, width: int, glyphs: Glyphs) -> list[Text]:
    lines = [_ends(Text(f" {TITLE}", "bold"), Text(f"{duration(scene.elapsed)} "), width), Text()]
    for number, name in enumerate(RENEWALS, 1):
        mail = scene.mail[number - 1]
        colour = ("dim" if number > scene.renewal else "bold red" if mail.deferred else "bold green") or ""
        told = f"{mail.deferred} of {mail.messages} deferred" if number <= scene.renewal else "comes next"
        left = Text(f" {number}  {name}", "bold" if number == scene.renewal else "dim")
        lines.append(_ends(left, Text(f"{told} ", colour), width))
    return [*lines, Text(" " + glyphs.rule * (width - 2), "dim")]


def _doing(scene: Scene, width: int, glyphs: Glyphs) -> list[Text]:
    lines = [_row(scene.state, Text(scene.doing, "bold"))]
    if scene.wait is None:
        return [*lines, Text()]
    left = max(0.0, scene.wait.until - scene.now)
    clock = datetime.fromtimestamp(scene.wait.until, UTC)
    told = f"  {left:.0f} s more, until {clock:%H:%M:%S}" if left else "  any moment now"
    room = max(8, width - _LABEL - 2 - len(told))
    done = round(room * (1 - left / max(1.0, scene.wait.until - scene.wait.since)))
    bar = Text(glyphs.done * done, "blue") + Text(glyphs.todo * (room - done), "dim") + Text(told)
    return [*lines, _row("", bar)]


def _servers(scene: Scene) -> list[Text]:
    lines = []
    for number, (name, serves) in enumerate(scene.servers):
        lines.append(_row(("TLSA in", "DNS")[number % 2], _pair(name, _coloured(serves))))
    return [*lines, _row("Postfix", _pair("mail.example.test", _coloured(scene.presents, " certificate")))]


def _caches(scene: Scene) -> list[Text]:
    lines = []
    for number, cache in enumerate(scene.caches):
        lines.append(_row(("senders'", "caches")[number % 2], _pair(cache.owner, _held(cache))))
    return lines


def _held(cache: Cache) -> Text:
    text = _coloured(cache.holds)
    return text.append(f", for {cache.ttl} s more") if cache.ttl else text


def _mail(scene: Scene, width: int, glyphs: Glyphs) -> list[Text]:
    if not scene.renewal:
        return [_row("mail", Text("begins to flow")), Text(), Text()]
    mail = scene.mail[scene.renewal - 1]
    # The second that is running is not whole.
    rate = sum(mail.seconds[-2]) if len(mail.seconds) > 1 else 0
    told = Text(f"{rate}/s  delivered {mail.delivered}, ")
    told.append(f"deferred {mail.deferred}", "bold red" if mail.deferred else "bold green")
    told.append(f"; TLS: Verified {mail.verified}, other {mail.other}")
    why = Text(f"{mail.reason}", "red") if mail.deferring else Text()
    return [_row("mail", told), _row("", strip(mail, width - _LABEL - 2, glyphs)), _row("", why)]


def _log(scene: Scene, room: int) -> list[Text]:
    if room < 2 or not scene.log:
        return []
    lines = [Text(f" {scene.log_title}", "dim")]
    for line in scene.log[-(room - 1) :]:
        time, kind, text = log_line(line)
        row = Text(f" {time:<8}  ", "dim").append(f"{kind:<11}", "bold" if kind != "phase" else "")
        lines.append(row.append(text))
    return lines


def _row(label: str, text: Text) -> Text:
    return Text(f" {label:<{_LABEL - 1}} ", "dim" if label in {"", "mail"} else "") + text


def _pair(name: str, text: Text) -> Text:
    return Text(f"{name:<19}") + text


def _coloured(name: str, more: str = "") -> Text:
    return Text(name + more, _COLOURS.get(name, "red"))


def _ends(left: Text, right: Text, width: int) -> Text:
    return left + Text(" " * max(1, width - left.cell_len - right.cell_len)) + right


def _cut(line: Text, width: int, glyphs: Glyphs) -> Text:
    if line.cell_len <= width:
        return line
    kept = line.copy()
    kept.right_crop(line.cell_len - width + len(glyphs.cut))
    return kept.append(glyphs.cut)
