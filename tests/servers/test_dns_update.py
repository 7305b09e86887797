"""rollover.dns.update against BIND: what goes in, what it refuses, and what became of it."""

from __future__ import annotations

import asyncio
import time

import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import pytest

from rollover.core.errors import EX_CONFIG, EX_NOPERM, EX_TEMPFAIL, EX_UNAVAILABLE
from rollover.core.tlsa import EMPTY, Tlsa
from rollover.dns import update as updates
from rollover.dns.errors import (
    ChangedUnderUs,
    NotAuthoritative,
    NoTsigKey,
    NotZone,
    OutcomeUnknown,
    PrimaryUnknown,
    PrimaryUnreachable,
    TsigBadKey,
    TsigBadSignature,
    TsigBadTime,
    UpdateFailed,
    UpdateRefused,
)
from rollover.dns.keys import load_tsig_key
from rollover.dns.update import Applied, Change
from tests.lab import Lab, junk, wait_for
from tests.lab import addresses as at
from tests.servers.dns_support import SPARE, Hand, fake, forward, many, records, with_rcode

LAB_OPTIONS = {"ttl": 20, "senders": False, "ports": (25, 587)}
SUBMISSION = "_587._tcp.mail.example.test."
IMAPS = "_993._tcp.mail.example.test."
WILDCARD = f"*._tcp.{at.HOST}"


@pytest.fixture
def clean_lab(shared_lab: Lab) -> Lab:
    """The shared lab, with exactly the first certificate's record at the owner of port 25."""
    shared_lab.primary.update(
        f"update delete {at.OWNER} TLSA\nupdate add {at.OWNER} 20 TLSA {shared_lab.old.tlsa}\n"
        f"update delete {IMAPS} TLSA"
    )
    wait_for(lambda: shared_lab.primary.tlsa().records == (shared_lab.old.tlsa,), "the zone is as it was")
    return shared_lab


class TestApplied:
    def test_add_and_delete_in_one(self, clean_lab: Lab) -> None:
        """Records come and go one by one in one update; the TTL stays, and reading back proves it."""
        hand = Hand(clean_lab)
        old = records(clean_lab.old.tlsa)
        add = hand.change(add=[fake(1), fake(2)])
        hand.update(add)
        (first,) = hand.read_back(add)
        assert (first.outcome, first.rrset, first.ttl, first.problem) == (
            Applied.APPLIED,
            old | {fake(1), fake(2)},
            20,
            "",
        )
        replace = hand.change(add=[fake(3)], delete=[fake(1)])
        hand.update(replace)
        (second,) = hand.read_back(replace)
        assert second.rrset == old | {fake(2), fake(3)}
        assert second.answer.serial > first.answer.serial

    def test_two_owners_at_once(self, clean_lab: Lab) -> None:
        """The owners of a zone change in one update, so with one serial."""
        hand = Hand(clean_lab)
        changes = [hand.change(add=[fake(1)]), hand.change(add=[fake(1)], owner=SUBMISSION)]
        before = clean_lab.primary.serial()
        hand.update(*changes)
        assert [result.outcome for result in hand.read_back(*changes)] == [Applied.APPLIED] * 2
        assert clean_lab.primary.serial() == before + 1

    def test_all_or_nothing(self, clean_lab: Lab) -> None:
        """When one owner's prerequisite fails nothing is changed at the other."""
        hand = Hand(clean_lab)
        stale = hand.change(add=[fake(1)], owner=IMAPS, expect=records(clean_lab.old.tlsa))
        with pytest.raises(ChangedUnderUs):
            hand.update(hand.change(add=[fake(1)]), stale)
        assert clean_lab.primary.tlsa().records == (clean_lab.old.tlsa,)

    def test_first_and_last_record(self, clean_lab: Lab) -> None:
        """An RRset can begin from nothing, and end in nothing."""
        hand = Hand(clean_lab)
        first = hand.change(add=[fake(1)], owner=IMAPS, ttl=33)
        hand.update(first)
        (result,) = hand.read_back(first)
        assert (result.outcome, result.ttl) == (Applied.APPLIED, 33)
        last = hand.change(delete=[fake(1)], owner=IMAPS)
        hand.update(last)
        (result,) = hand.read_back(last)
        assert (result.outcome, result.rrset) == (Applied.APPLIED, EMPTY)

    @pytest.mark.fault(31)
    def test_the_records_of_others_stay(self, start_lab) -> None:
        """Foreign and malformed records are named in the prerequisite, octet by octet, and stay."""
        foreign = ["3 1 2 " + "ab" * 64, "2 1 1 " + "cd" * 32, "3 1 1 0102", "255 255 255 00"]
        lab = start_lab(senders=False, foreign=foreign)
        hand = Hand(lab)
        expected = records(lab.old.tlsa, *foreign)
        seen = hand.see()
        assert [answer.rrset for answer in seen.servers] == [expected] * 3
        assert seen.resolver.rrset == expected
        change = hand.change(add=[fake(1)])
        hand.update(change)
        assert hand.read_back(change)[0].rrset == expected | {fake(1)}

    @pytest.mark.fault(34)
    @pytest.mark.lab(owner="wildcard", senders=False)
    def test_first_record_below_a_wildcard(self, lab: Lab) -> None:
        """The first record of the name itself goes in together with what the wildcard gave."""
        hand = Hand(lab)
        old = records(lab.old.tlsa)
        change = hand.change(add=[*old, fake(1)])
        assert change.expect_wildcard
        hand.update(change)
        (result,) = hand.read_back(change)
        assert (result.outcome, result.rrset) == (Applied.APPLIED, old | {fake(1)})
        away = hand.change(delete=[*old, fake(1)])
        hand.update(away)
        (result,) = hand.read_back(away)
        assert (result.outcome, result.rrset, result.answer.rrset) == (Applied.APPLIED, EMPTY, old)

    @pytest.mark.lab(owner="wildcard", senders=False)
    def test_a_wildcard_that_is_none_any_more(self, lab: Lab) -> None:
        """What was decided for a wildcard is not done to records of the name itself."""
        hand = Hand(lab)
        change = hand.change(add=[fake(1)])
        lab.primary.update(f"update add {at.OWNER} 20 TLSA {fake(2)}")
        with pytest.raises(ChangedUnderUs, match="YXRRSET"):
            hand.update(change)

    @pytest.mark.lab(owner="wildcard", senders=False, ports=(25, 587))
    def test_two_owners_below_one_wildcard(self, lab: Lab) -> None:
        """Both are computed from its RRset, which stands among the prerequisites once: BIND counts the records."""
        hand = Hand(lab)
        old, both = records(lab.old.tlsa), (at.OWNER, SUBMISSION)
        changes = [hand.change(add=[*old, fake(1)], owner=owner) for owner in both]
        assert [change.expect_wildcard for change in changes] == [WILDCARD] * 2
        hand.update(*changes)
        assert [result.outcome for result in hand.read_back(*changes)] == [Applied.APPLIED] * 2

    @pytest.mark.parametrize(
        "meanwhile",
        [f"update delete {WILDCARD} TLSA", f"update add {WILDCARD} 20 TLSA {fake(2)}"],
        ids=["taken away", "changed"],
    )
    @pytest.mark.lab(owner="wildcard", senders=False)
    def test_a_wildcard_that_is_another_one_now(self, lab: Lab, meanwhile: str) -> None:
        """What was copied from a wildcard is not what it gives any more: taken away, it would switch DANE on again."""
        hand = Hand(lab)
        change = hand.change(add=[*records(lab.old.tlsa), fake(1)])
        lab.primary.update(meanwhile)
        with pytest.raises(ChangedUnderUs, match="NXRRSET"):
            hand.update(change)
        assert str(fake(1)) not in lab.primary.tlsa().records


class TestPrerequisites:
    @pytest.mark.fault(7, 64)
    def test_changed_under_us(self, clean_lab: Lab) -> None:
        """An RRset that somebody changed since the decision is left as it is; decide anew."""
        hand = Hand(clean_lab)
        change = hand.change(add=[fake(1)])
        clean_lab.primary.update(f"update add {at.OWNER} 20 TLSA {fake(9)}")
        with pytest.raises(ChangedUnderUs, match=r"_25\._tcp\.mail\.example\.test\. changed on 127\.0\.0\.53") as e:
            hand.update(change)
        assert (e.value.retryable, e.value.exit_code, e.value.outcome_unknown) == (True, EX_TEMPFAIL, False)
        assert str(fake(1)) not in clean_lab.primary.tlsa().records

    @pytest.mark.fault(1)
    def test_a_cname_appeared(self, clean_lab: Lab) -> None:
        """A CNAME at the owner fails the update, where BIND alone would drop the records silently."""
        hand = Hand(clean_lab)
        change = hand.change(add=[fake(1)], owner=IMAPS)
        clean_lab.primary.update(f"update add {IMAPS} 20 CNAME {at.OWNER}")
        try:
            with pytest.raises(ChangedUnderUs, match="YXRRSET"):
                hand.update(change)
            (result,) = hand.read_back(change, within=0.2)
            assert result.outcome is Applied.NOT_APPLIED
            assert result.problem == f"a CNAME to {at.OWNER} owns the name"
        finally:
            clean_lab.primary.update(f"update delete {IMAPS} CNAME")

    @pytest.mark.fault(6)
    def test_a_replay_changes_nothing(self, clean_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        """A signed update that arrives a second time, after an undo, is answered NXRRSET."""
        sent = []
        real = updates.message.request

        def keep(wire, **signed):
            sent.append(real(wire, **signed))
            return sent[-1]

        hand = Hand(clean_lab)
        change = hand.change(add=[fake(1)])
        monkeypatch.setattr(updates.message, "request", keep)
        asyncio.run(updates.update([change], hand.settings, hand.clock))
        monkeypatch.undo()
        assert dns.rcode.to_text(self.send_again(sent[-1].wire)) == "NXRRSET"

    def send_again(self, wire: bytes) -> int:
        """Send *wire* once more and return the response code."""
        import socket
        import struct

        with socket.create_connection((at.PRIMARY, 53), timeout=2) as connection:
            connection.sendall(struct.pack("!H", len(wire)) + wire)
            answer = connection.recv(65535)[2:]
        return answer[3] & 0xF


class TestRefused:
    @pytest.mark.fault(9)
    def test_not_granted(self, lab: Lab) -> None:
        """An owner that is not granted is refused; the hint is the grant that helps."""
        hand = Hand(lab)
        lab.primary.reconfigure(update_policy="")
        change = hand.change(add=[fake(1)])
        with pytest.raises(UpdateRefused) as refused:
            hand.update(change)
        assert refused.value.message == "update of zone example.test. refused by 127.0.0.53: REFUSED"
        grant = f"grant rollover-key name {at.OWNER} TLSA;"
        assert refused.value.hint == f"if the zone is frozen, thaw it; else grant: `{grant}`"
        assert refused.value.exit_code == EX_NOPERM
        lab.primary.reconfigure(update_policy=grant)
        hand.update(change)
        assert hand.read_back(change)[0].outcome is Applied.APPLIED

    @pytest.mark.fault(8)
    def test_frozen(self, lab: Lab) -> None:
        """A frozen zone refuses, and takes the same update once it is thawed."""
        hand = Hand(lab)
        change = hand.change(add=[fake(1)])
        lab.primary.freeze()
        with pytest.raises(UpdateRefused, match="REFUSED") as refused:
            hand.update(change)
        assert "frozen" in refused.value.hint
        lab.primary.thaw()
        hand.update(change)
        assert hand.read_back(change)[0].outcome is Applied.APPLIED

    def test_a_key_without_any_grant(self, clean_lab: Lab) -> None:
        """A key that the server knows, and that may not do this, is named in the grant."""
        hand = Hand(clean_lab, key=load_tsig_key(clean_lab.acme_key.path))
        with pytest.raises(UpdateRefused) as refused:
            hand.update(hand.change(add=[fake(1)]))
        assert "grant acme-key name" in refused.value.hint

    @pytest.mark.fault(10)
    def test_wrong_secret(self, clean_lab: Lab) -> None:
        """BADSIG: its own error, which says which key and where the right one is."""
        self.expect(clean_lab, clean_lab.tsig_key.with_wrong_secret(), TsigBadSignature, "rollover-key: BADSIG")

    @pytest.mark.fault(10)
    def test_wrong_algorithm(self, clean_lab: Lab) -> None:
        """BADKEY: the server knows no such pair of name and algorithm."""
        key = clean_lab.tsig_key.with_wrong_algorithm()
        self.expect(clean_lab, key, TsigBadKey, "rollover-key with algorithm hmac-sha512: BADKEY")

    @pytest.mark.fault(10)
    def test_unknown_key(self, clean_lab: Lab) -> None:
        """BADKEY for a name that the server never heard of."""
        self.expect(clean_lab, clean_lab.tsig_key.with_unknown_name(), TsigBadKey, "nobody-key")

    def expect(self, lab: Lab, key, error: type, words: str) -> None:
        """The right key decides what to do, the wrong one fails with *error*, nothing is changed."""
        change = Hand(lab).change(add=[fake(1)])
        with pytest.raises(error, match=words) as raised:
            Hand(lab, key=load_tsig_key(key.path)).update(change)
        assert raised.value.exit_code == EX_CONFIG
        assert not raised.value.retryable
        assert not raised.value.outcome_unknown
        assert "named.conf" in raised.value.hint or "key statement" in raised.value.hint
        assert key.secret not in raised.value.message + raised.value.hint
        assert lab.primary.tlsa().records == (lab.old.tlsa,)

    @pytest.mark.fault(11)
    @pytest.mark.parametrize("offset", [400, -400])
    def test_clock(self, clean_lab: Lab, offset: int) -> None:
        """BADTIME: the message has the time of both hosts."""
        hand = Hand(clean_lab, offset=offset)
        change = Hand(clean_lab).change(add=[fake(1)])
        with pytest.raises(TsigBadTime, match=r"clocks differ: \d{4}-.* on 127\.0\.0\.53, \d{4}-.* on this host") as e:
            hand.update(change)
        assert abs((e.value.ours - e.value.theirs).total_seconds() - offset) < 5
        assert not e.value.outcome_unknown
        assert clean_lab.primary.tlsa().records == (clean_lab.old.tlsa,)

    @pytest.mark.fault(14)
    def test_not_the_primary_of_the_zone(self, clean_lab: Lab) -> None:
        """NOTAUTH: a zone that is none there."""
        hand = Hand(clean_lab)
        change = Change("_25._tcp.mail.example.test.", "mail.example.test.", EMPTY, "", frozenset([fake(1)]), EMPTY, 20)
        with pytest.raises(NotAuthoritative, match=r"127\.0\.0\.53 is not the primary of zone mail") as e:
            hand.update(change)
        assert e.value.exit_code == EX_CONFIG

    def test_owner_outside_of_the_zone(self, clean_lab: Lab) -> None:
        """NOTZONE: an owner that is not in the zone."""
        hand = Hand(clean_lab)
        change = Change("_25._tcp.mail.dane.test.", at.DOMAIN, EMPTY, "", frozenset([fake(1)]), EMPTY, 20)
        with pytest.raises(NotZone, match=r"_25\._tcp\.mail\.dane\.test\. is not in zone example\.test\."):
            hand.update(change)

    @pytest.mark.fault(12)
    def test_more_than_the_server_takes(self, clean_lab: Lab) -> None:
        """SERVFAIL: the server could not, and undid it."""
        hand = Hand(clean_lab)
        with pytest.raises(UpdateFailed, match="SERVFAIL") as e:
            hand.update(hand.change(add=[Tlsa.parse(rdata) for rdata in many(150)]))
        assert "log of named" in e.value.hint
        assert clean_lab.primary.tlsa().records == (clean_lab.old.tlsa,)

    def test_without_key(self, clean_lab: Lab) -> None:
        """Without a key nothing is sent at all."""
        before = clean_lab.primary.serial()
        change = Hand(clean_lab).change(add=[fake(1)])
        with pytest.raises(NoTsigKey, match=r"no TSIG key for zone example\.test\."):
            Hand(clean_lab, key=None).update(change)
        assert clean_lab.primary.serial() == before


class TestNotApplied:
    @pytest.mark.fault(2)
    def test_noerror_and_nothing(self, lab: Lab) -> None:
        """A limit in the update-policy drops a record under NOERROR; reading back shows it."""
        hand = Hand(lab)
        lab.primary.reconfigure(update_policy=f"grant rollover-key name {at.OWNER} TLSA(1);")
        change = hand.change(add=[fake(1)])
        hand.update(change)
        (result,) = hand.read_back(change, within=0.3)
        assert (result.outcome, result.rrset) == (Applied.NOT_APPLIED, records(lab.old.tlsa))
        assert result.problem == "1 of 1 records absent"

    @pytest.mark.fault(2)
    def test_half_of_it(self, lab: Lab) -> None:
        """A limit that lets one of two through is neither applied nor not."""
        hand = Hand(lab)
        lab.primary.reconfigure(update_policy=f"grant rollover-key name {at.OWNER} TLSA(2);")
        change = hand.change(add=[fake(1), fake(2)])
        hand.update(change)
        (result,) = hand.read_back(change, within=0.3)
        assert result.outcome is Applied.OTHER
        assert result.problem == "1 of 2 records absent"

    def test_another_ttl_alone(self, clean_lab: Lab) -> None:
        """The TTL of an RRset changes when its records are added again with another one."""
        hand = Hand(clean_lab)
        change = hand.change(add=records(clean_lab.old.tlsa), ttl=45)
        hand.update(change)
        (result,) = hand.read_back(change)
        assert (result.outcome, result.rrset, result.ttl) == (Applied.APPLIED, records(clean_lab.old.tlsa), 45)

    @pytest.mark.fault(3)
    def test_a_ttl_that_is_cut(self, clean_lab: Lab) -> None:
        """A TTL above the zone's maximum is cut by the server; what is read back is what is true."""
        hand = Hand(clean_lab)
        change = hand.change(add=[fake(1)], owner=IMAPS, ttl=172800)
        hand.update(change)
        (result,) = hand.read_back(change)
        assert (result.outcome, result.ttl) == (Applied.APPLIED, 86400)


class TestLost:
    @pytest.mark.fault(4)
    @pytest.mark.parametrize("loss", ["silence", "hangup"])
    def test_the_answer(self, lab: Lab, loss) -> None:
        """An answer that never came leaves the outcome unknown; reading back tells it was applied."""
        hand = Hand(lab, primary=at.PROXY, timeout=1.0)
        change = hand.change(add=[fake(1)])
        lab.update_proxy.lose_answers(loss=loss)
        with pytest.raises(OutcomeUnknown, match="outcome unknown") as e:
            hand.update(change)
        assert (e.value.outcome_unknown, e.value.exit_code) == (True, EX_TEMPFAIL)
        assert lab.update_proxy.lost_answers == 1
        assert hand.read_back(change)[0].outcome is Applied.APPLIED

    @pytest.mark.fault(5)
    @pytest.mark.parametrize("loss", ["silence", "hangup"])
    def test_the_request(self, lab: Lab, loss) -> None:
        """A request that was lost looks the same; reading back tells that nothing came of it."""
        hand = Hand(lab, primary=at.PROXY, timeout=1.0)
        change = hand.change(add=[fake(1)])
        lab.update_proxy.lose_requests(loss=loss)
        with pytest.raises(OutcomeUnknown):
            hand.update(change)
        assert lab.update_proxy.lost_requests == 1
        assert hand.read_back(change, within=0.3)[0].outcome is Applied.NOT_APPLIED
        hand.update(change)
        assert hand.read_back(change)[0].outcome is Applied.APPLIED

    @pytest.mark.parametrize("reply", [with_rcode(0), with_rcode(5), with_rcode(4), junk.garbage, junk.wrong_id])
    def test_an_answer_that_proves_nothing(self, shared_lab: Lab, reply) -> None:
        """An unsigned or unreadable answer, whatever it says, leaves the outcome unknown."""
        change = Hand(shared_lab).change(add=[fake(1)])
        server = shared_lab.junk_server(reply)
        try:
            with pytest.raises(OutcomeUnknown):
                Hand(shared_lab, primary=SPARE).update(change)
        finally:
            server.stop()

    @pytest.mark.fault(13)
    def test_nobody_there(self, shared_lab: Lab) -> None:
        """Where no connection was made nothing was sent, and the outcome is known."""
        change = Hand(shared_lab).change(add=[fake(1)])
        with pytest.raises(PrimaryUnreachable, match=r"127\.0\.0\.59 .* connection refused") as e:
            Hand(shared_lab, primary="127.0.0.59").update(change)
        assert (e.value.outcome_unknown, e.value.retryable, e.value.exit_code) == (False, True, EX_UNAVAILABLE)
        (result,) = Hand(shared_lab, primary="127.0.0.59").read_back(change, within=0.2)
        assert (result.outcome, result.problem) == (Applied.UNKNOWN, "connection refused")

    def test_reading_back_ends(self, shared_lab: Lab) -> None:
        """Reading back what never comes ends after the time given; the figure is printed."""
        change = Hand(shared_lab).change(add=[fake(77)])
        server = shared_lab.junk_server(forward)
        begin = time.monotonic()
        try:
            (result,) = Hand(shared_lab, primary=SPARE).read_back(change, within=1.0)
        finally:
            server.stop()
        print(f"read back for 1 s took {time.monotonic() - begin:.2f} s, {server.queries} questions")
        assert result.outcome is Applied.NOT_APPLIED
        assert 3 < server.queries <= 15, "three questions each, at 0, 0.05, 0.15, 0.35 and 0.75 s"


class TestPrimary:
    @pytest.mark.parametrize("primary", ["127.0.0.53:53", "ns1.example.test", "ns1.example.test.:53", None])
    def test_spelling(self, clean_lab: Lab, primary: str | None) -> None:
        """The primary is a name or an address, with or without a port, or the SOA MNAME."""
        hand = Hand(clean_lab, primary=primary)
        change = hand.change(add=[fake(1)])
        hand.update(change)
        assert hand.read_back(change)[0].outcome is Applied.APPLIED

    def test_a_name_without_address(self, clean_lab: Lab) -> None:
        """A primary whose name has no address is a mistake in the configuration."""
        with pytest.raises(PrimaryUnknown, match=r"nowhere\.example\.test has no address") as e:
            Hand(clean_lab, primary="nowhere.example.test").try_grant()
        assert "[dns] primary" in e.value.hint

    def test_the_first_address_that_connects(self, clean_lab: Lab) -> None:
        """A primary with a dead address is reached at the next one."""
        clean_lab.primary.update(
            "update add both.example.test. 20 A 127.0.0.59\nupdate add both.example.test. 20 A 127.0.0.53"
        )
        hand = Hand(clean_lab, primary="both.example.test")
        wait_for(lambda: len(clean_lab.resolver.ask("both.example.test.", "A").rrset.records) == 2, "both addresses")
        hand.try_grant()
        assert hand.see().primary.server == "primary 127.0.0.53"

    def test_a_secondary_is_no_primary(self, clean_lab: Lab) -> None:
        """An update sent to the secondary fails, and the zone stays as it is."""
        hand = Hand(clean_lab, primary=at.SECONDARY)
        with pytest.raises((TsigBadKey, OutcomeUnknown)):
            hand.try_grant()


class TestGrant:
    def test_granted(self, clean_lab: Lab) -> None:
        """Trying a grant changes nothing, not even the serial."""
        before = clean_lab.primary.serial()
        Hand(clean_lab).try_grant()
        assert clean_lab.primary.serial() == before
        assert clean_lab.primary.tlsa().records == (clean_lab.old.tlsa,)

    def test_not_granted(self, clean_lab: Lab) -> None:
        """An owner that is not granted is found out without an attempt to change it."""
        with pytest.raises(UpdateRefused, match="REFUSED") as e:
            Hand(clean_lab).try_grant("_26._tcp.mail.example.test.")
        assert "grant rollover-key name _26._tcp.mail.example.test. TLSA;" in e.value.hint
