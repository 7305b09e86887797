"""A further server of `also_check` that answers junk: it holds back, by name, until it heals or is left out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests.lab import Lab, junk
from tests.lab import addresses as at
from tests.rollover.driving import (
    alone_in_dns,
    at_the_worst_moment,
    codes,
    hand_over,
    left_by_advance,
    nothing_deferred,
    problem,
    steady_mail,
    to_the_end,
)
from tests.servers.dns_support import forward, only_tlsa

TTL = 2
SPARE = at.SPARE[0]
SETTINGS = {"check_every": "30s", "retain": "1s", "drain": "1s", "timeout": "3s", "propagation_warn": "0s"}

Reply = Callable[[bytes], bytes | None]
JUNK: dict[str, Reply] = {
    "garbage": junk.garbage,
    "another id": junk.wrong_id,
    "truncated, over TCP too": junk.truncated,
    "cut short": junk.cut_short,
    "another class": only_tlsa(junk.wrong_class),
    "an oversized RRset": only_tlsa(junk.tlsa(*(b"\x03\x01\x01" + n.to_bytes(32, "big") for n in range(200)))),
    "malformed records": only_tlsa(junk.tlsa(b"", b"\x03", b"\x03\x01\x01\x02\x03")),
    "silence": junk.silence,
}


def date(days: int) -> str:
    """Return the day *days* from today, UTC."""
    return f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%d}"


def stands_still(lab: Lab) -> None:
    """Tick; assert that nothing is installed, that the server is named for it, and no traceback."""
    done = lab.rollover("advance", check=75)
    assert not done.stderr
    it = left_by_advance()
    assert it["phase"] == "propagating"
    found = [p for p in it["problems"] if p["code"] in {"server-unreachable", "secondary-stale"}]
    assert [p["message"].startswith(f"{SPARE} ") for p in found] == [True], it
    assert found[0]["level"] == it["level"] == "warning"
    assert lab.served() == lab.old.spki


@pytest.mark.fault(22)
@pytest.mark.lab(ttl=TTL)
def test_junk(lab: Lab) -> None:
    """Whatever junk it answers the tool stands still and says so; when it heals the rollover goes on by itself."""
    server = lab.junk_server(forward)
    lab.configure(**SETTINGS, also_check=[SPARE])
    lab.rollover("adopt", "mail", check=0)
    new = lab.certificate()
    with steady_mail(lab) as mail:
        server.reply = junk.garbage
        with at_the_worst_moment(lab):
            hand_over(lab, new)
        for what, reply in JUNK.items():
            server.reply, before = reply, server.queries
            stands_still(lab)
            assert server.queries > before, what
        server.reply = forward
        to_the_end(lab)
        assert lab.served() == new.spki
        assert not codes(left_by_advance(), "warning")
    alone_in_dns(lab, new)
    nothing_deferred(lab, mail())


@pytest.mark.fault(22)
@pytest.mark.lab(ttl=TTL)
def test_ignored(lab: Lab) -> None:
    """`ignore` leaves a server out until its day is over, and never silently; taken out of the configuration it is gone."""
    lab.junk_server(junk.silence)
    settings = SETTINGS | {"also_check": [SPARE]}
    lab.configure(**SETTINGS)
    lab.rollover("adopt", "mail", check=0)
    first, second = lab.certificate(), lab.certificate()
    with steady_mail(lab) as mail:
        lab.configure(**settings, ignore=[{"server": SPARE, "until": date(-1)}])
        with at_the_worst_moment(lab):
            hand_over(lab, first)
        stands_still(lab)
        lab.configure(**settings, ignore=[{"server": SPARE, "until": date(1)}])
        to_the_end(lab, but={"server-ignored"})
        assert lab.served() == first.spki
        found = problem(left_by_advance(), "server-ignored")
        assert found["level"] == "warning"
        assert SPARE in found["message"]

        lab.configure(**settings)
        with at_the_worst_moment(lab):
            hand_over(lab, second)
        lab.configure(**SETTINGS)
        to_the_end(lab)
        assert lab.served() == second.spki
        assert "server-ignored" not in codes(left_by_advance())
    alone_in_dns(lab, second)
    nothing_deferred(lab, mail())
