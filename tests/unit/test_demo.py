"""What the demonstration shows, and what it concludes; the servers themselves run in ./demo.sh."""

from __future__ import annotations

import pytest

from tests.demo import verdict
from tests.demo.plain import PlainLines
from tests.demo.scene import Cache, Mail, Scene, Wait
from tests.demo.screen import ASCII, FINE, SMALLEST, Glyphs, frame
from tests.demo.watch import SENTENCES, figures
from tests.lab.maillog import Counts, Event

DEFERRED = Mail(10, 5, 10, 5, ((10, 0), (0, 5)), "Server certificate not verified")
DELIVERED = Mail(900, 0, 900, 0, ((10, 0),) * 90)
PUBLISHED = f"2026-11-22T14:00:07Z published      _25._tcp.mail.example.test. added 3 1 1 {'0123456789abcdef' * 4}"
BUSY = Scene(
    renewal=2,
    elapsed=75.0,
    now=1795356000.0,
    state="waiting",
    doing="until no resolver can still hold the old record alone",
    wait=Wait(1795355990.0, 1795356030.0),
    servers=(("ns1.example.test", "old + new"), ("ns2.example.test", "old")),
    presents="old",
    caches=(Cache("sender 1", "old", 12), Cache("sender 2", "nothing", 0)),
    mail=(DEFERRED, DELIVERED),
    log_title="rollover history mail",
    log=(PUBLISHED,) * 40,
)


@pytest.mark.parametrize("scene", [Scene(), BUSY], ids=["at the start", "in the middle"])
@pytest.mark.parametrize(("width", "height"), [SMALLEST, (80, 24), (100, 30), (200, 60)])
@pytest.mark.parametrize("glyphs", [FINE, ASCII], ids=["UTF-8", "ASCII"])
def test_the_view_fits_every_terminal(scene: Scene, width: int, height: int, glyphs: Glyphs) -> None:
    """The view fills the terminal's lines and is nowhere wider than it."""
    lines = frame(scene, width, height, glyphs)

    assert len(lines) == height
    assert max(line.cell_len for line in lines) <= width
    assert glyphs is FINE or all(line.plain.isascii() for line in lines)


def test_the_view_shows_what_matters_on_80_columns() -> None:
    """At 80×24 waits, servers, caches and counts are there in full, and the history in its last lines."""
    text = "\n".join(line.plain.rstrip() for line in frame(BUSY, 80, 24))

    for told in (
        "30 s more, until",
        "ns1.example.test   old + new",
        "mail.example.test  old certificate",
        "sender 1           old, for 12 s more",
        "5 of 15 deferred",
        "delivered 900, deferred 0; TLS: Verified 900, other 0",
        "14:00:07  published",
    ):
        assert told in text


@pytest.mark.parametrize("sentence", SENTENCES.values())
def test_what_goes_on_is_told_in_full_on_80_columns(sentence: str) -> None:
    """No sentence about a phase of a rollover is cut on 80 columns."""
    scene = Scene(renewal=2, state="propagating", doing=sentence)

    assert any(sentence in line.plain for line in frame(scene, 80, 24))


def test_plain_lines_are_printed_for_changes_only() -> None:
    """Without a terminal there is one line a change, none without a change, and no escape codes."""
    printed: list[str] = []
    lines = PlainLines(printed.append)
    lines.show(BUSY)
    begun = len(printed)
    lines.show(BUSY)
    assert len(printed) == begun

    lines.show(Scene(**{**vars(BUSY), "presents": "new"}))

    assert [line[10:] for line in printed[begun:]] == ["Postfix presents: new"]
    assert not any("\x1b" in line for line in printed)


@pytest.mark.parametrize(
    ("usual", "tool", "code"),
    [
        pytest.param(DEFERRED, DELIVERED, 0, id="only the usual way deferred mail"),
        pytest.param(DELIVERED, DELIVERED, 1, id="nothing was deferred at all"),
        pytest.param(DEFERRED, DEFERRED, 1, id="rollover deferred mail too"),
        pytest.param(DEFERRED, Mail(), 1, id="no mail flowed with rollover"),
        pytest.param(DEFERRED, Mail(9, 0, 8, 1, ((9, 0),)), 1, id="one connection was not authenticated"),
    ],
)
def test_the_verdict_is_honest(usual: Mail, tool: Mail, code: int) -> None:
    """Success is told only if rollover deferred nothing, over authenticated connections, and the usual way did."""
    scene = Scene(renewal=2, mail=(usual, tool))
    made = verdict.lines(scene, ttl=20, per_second=10, width=80, glyphs=FINE)
    text = " ".join(x.plain.strip() for x in made)

    assert verdict.exit_code(usual, tool) == code
    assert f"{tool.messages} messages, {tool.deferred} deferred" in text
    assert max(x.cell_len for x in made) <= 80
    assert ("some 20 s here" in text) == (code == 0)


def test_figures_come_from_the_senders_logs() -> None:
    """Every second from the first outcome to the last is there, and what was not sent counts as deferred."""
    log = [
        Event(100, "sender1", "Verified", "", ""),
        Event(100, "sender1", "sent", "A", "250 Ok"),
        Event(101, "sender2", "Untrusted", "", ""),
        Event(101, "sender2", "deferred", "B", "Server certificate not verified"),
        Event(103, "sender1", "bounced", "C", "no such user"),
    ]

    mail = figures(Counts(log))

    assert (mail.delivered, mail.deferred, mail.verified, mail.other) == (1, 2, 1, 1)
    assert mail.seconds == ((1, 0), (0, 1), (0, 0), (0, 1))
    assert (mail.bad_seconds, mail.deferring) == (2, True)
