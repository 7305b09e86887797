"""The lab itself, on its real servers: what other tests take for granted is shown here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdataclass
import dns.tsig
import dns.update
import pytest

from tests.lab import Lab, LabError, junk, wait_for, warm
from tests.lab.addresses import DANE_TARGET, DOMAIN, MX_SECOND, OWNER, PRIMARY
from tests.lab.command import environment, toml
from tests.lab.endpoint import presented, served
from tests.lab.keys import TsigKey
from tests.lab.maillog import MailLog, Mark

LAB_OPTIONS = {"ttl": 5}


def update(key: TsigKey, owner: str, rdata: str, *, zone: str = DOMAIN, where: str = PRIMARY) -> str:
    """Add a TLSA record as the tool would; return the response code."""
    message = dns.update.UpdateMessage(zone, keyring=key.keyring)
    message.add(owner, 5, "TLSA", rdata)
    return dns.rcode.to_text(dns.query.tcp(message, where, timeout=2).rcode())


def replace_record(lab: Lab, rdata: str) -> None:
    """Let the administrator replace the TLSA RRset, and wait until the secondary has it."""
    lab.primary.update(f"update delete {OWNER} TLSA\nupdate add {OWNER} {lab.ttl} TLSA {rdata}")
    wait_for(lambda: lab.secondary.tlsa().records == (rdata,), "the secondary follows")


class TestStart:
    def test_starts_within_a_bound(self, shared_lab: Lab) -> None:
        """A whole lab starts in well under half a minute; the figure is printed."""
        print(f"started in {shared_lab.started_in:.2f} s")
        assert shared_lab.started_in < 30

    def test_several_follow_each_other(self, start_lab) -> None:
        """Addresses and ports are free again once a lab has stopped, and its files are gone."""
        first = start_lab(senders=False)
        first.stop()
        assert not first.directory.exists()
        second = start_lab(senders=False)
        assert second.served() == second.old.spki != first.old.spki

    def test_two_at_once_are_refused(self, shared_lab: Lab) -> None:
        """A second lab would share the first one's addresses."""
        with pytest.raises(LabError, match="another lab is running"):
            Lab().start()

    def test_every_resolver_authenticates(self, shared_lab: Lab) -> None:
        """All three resolvers answer for the TLSA RRset with the AD flag."""
        for resolver in shared_lab.resolvers:
            answer = resolver.ask()
            assert answer.authenticated, resolver.name
            assert answer.rrset.records == (shared_lab.old.tlsa,)

    def test_host_is_out_of_reach(self) -> None:
        """The namespace has the loopback interface alone, and a resolv.conf of its own."""
        assert [line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]] == ["lo"]
        assert "nameserver 127.0.0.10" in Path("/etc/resolv.conf").read_text()


class TestOwners:
    def test_cname_leads_to_its_target(self, start_lab) -> None:
        """A CNAME in the zone is followed to records that the tool's key may change."""
        lab = start_lab(owner="cname", senders=False)
        answer = lab.resolver.fill()
        assert (answer.cnames, answer.authenticated) == (("_tlsa.mail.example.test.",), True)
        assert answer.rrset.records == (lab.old.tlsa,)
        assert update(lab.tsig_key, "_tlsa.mail.example.test.", lab.certificate().tlsa) == "NOERROR"

    def test_cname_leads_into_another_zone(self, start_lab) -> None:
        """A CNAME into dane.test. is followed; that zone has a key of its own, for one owner."""
        lab = start_lab(owner="cname-other-zone", senders=False)
        assert lab.resolver.ask().cnames == (DANE_TARGET,)
        rdata = lab.certificate().tlsa
        assert update(lab.dane_key, DANE_TARGET, rdata, zone="dane.test.") == "NOERROR"
        assert update(lab.dane_key, "x.dane.test.", rdata, zone="dane.test.") == "REFUSED"
        assert update(lab.tsig_key, DANE_TARGET, rdata, zone="dane.test.") == "REFUSED"
        assert lab.resolver.fill().rrset.records == tuple(sorted((lab.old.tlsa, rdata)))

    def test_wildcard_is_synthesised(self, start_lab) -> None:
        """A wildcard above the owner answers for it, authenticated."""
        lab = start_lab(owner="wildcard", senders=False)
        answer = lab.resolver.ask()
        assert (answer.authenticated, answer.rrset.records) == (True, (lab.old.tlsa,))
        assert lab.primary.tlsa("*._tcp.mail.example.test.").records == (lab.old.tlsa,)

    def test_foreign_records_and_ports(self, start_lab) -> None:
        """Foreign records stand beside the first certificate's; other ports have their own owner."""
        lab = start_lab(foreign=("3 1 2 " + "ab" * 64,), ports=(25, 465, 587), senders=False)
        assert lab.secondary.tlsa().records == (lab.old.tlsa, "3 1 2 " + "ab" * 64)
        for port in (465, 587):
            assert lab.secondary.tlsa(f"_{port}._tcp.mail.example.test.").records == (lab.old.tlsa,)
            assert lab.served(port=port, sni="mail.example.test") == lab.old.spki


class TestUpdates:
    def test_grant_is_exact(self, shared_lab: Lab) -> None:
        """The tool's key may change its owners' TLSA, and nothing beside or below."""
        lab = shared_lab
        rdata = lab.certificate().tlsa
        assert update(lab.tsig_key, "_587._tcp.mail.example.test.", rdata) == "NOERROR"
        for owner in ("_26._tcp.mail.example.test.", "mail.example.test.", f"x.{OWNER}"):
            assert update(lab.tsig_key, owner, rdata) == "REFUSED"
        assert update(lab.acme_key, OWNER, rdata) == "REFUSED"
        wait_for(lambda: lab.secondary.tlsa("_587._tcp.mail.example.test."), "the secondary follows")

    @pytest.mark.parametrize(
        ("variant", "error"),
        [
            ("with_wrong_secret", dns.tsig.PeerBadSignature),
            ("with_wrong_algorithm", dns.tsig.PeerBadKey),
            ("with_unknown_name", dns.tsig.PeerBadKey),
        ],
    )
    def test_wrong_keys_are_told_apart(self, shared_lab: Lab, variant: str, error: type[Exception]) -> None:
        """A wrong secret, algorithm or name is answered with the TSIG error of its kind."""
        wrong: TsigKey = getattr(shared_lab.tsig_key, variant)()
        assert wrong.path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(error):
            update(wrong, OWNER, shared_lab.old.tlsa)

    def test_frozen_zone_refuses(self, shared_lab: Lab) -> None:
        """A frozen zone refuses what it takes again once thawed."""
        rdata = shared_lab.certificate().tlsa
        shared_lab.primary.freeze()
        assert update(shared_lab.tsig_key, "_993._tcp.mail.example.test.", rdata) == "REFUSED"
        shared_lab.primary.thaw()
        assert update(shared_lab.tsig_key, "_993._tcp.mail.example.test.", rdata) == "NOERROR"

    def test_limit_is_answered_noerror(self, shared_lab: Lab) -> None:
        """With `TLSA(1)` a second record is answered NOERROR and not added; so the fault is real."""
        lab = shared_lab
        before = lab.primary.tlsa()
        lab.primary.reconfigure(update_policy=f"grant rollover-key name {OWNER} TLSA(1);")
        assert update(lab.tsig_key, OWNER, lab.certificate().tlsa) == "NOERROR"
        assert lab.primary.tlsa() == before
        lab.primary.reconfigure(update_policy="")
        assert update(lab.tsig_key, OWNER, lab.certificate().tlsa) == "REFUSED"
        lab.primary.reconfigure()
        assert update(lab.tsig_key, "_143._tcp.mail.example.test.", lab.old.tlsa) == "NOERROR"


class TestSecondary:
    def test_stopped_transfers_hold(self, lab: Lab) -> None:
        """The secondary goes on with its old zone until transfers are resumed, then follows."""
        lab.secondary.stop_transfers()
        new = lab.certificate().tlsa
        assert update(lab.tsig_key, OWNER, new) == "NOERROR"
        # Longer than the zone's REFRESH of 5 s, after which a healthy secondary would ask.
        time.sleep(7)
        assert lab.secondary.tlsa().records == (lab.old.tlsa,)
        lab.secondary.resume_transfers()
        wait_for(lambda: new in lab.secondary.tlsa().records, "the secondary catches up", 10)

    def test_expired_signatures_are_bogus(self, lab: Lab) -> None:
        """Under expired signatures the records are right, and a validating resolver refuses them."""
        lab.secondary.expire_signatures()
        lab.resolver.ask_only(lab.secondary.address)
        assert lab.secondary.tlsa().records == (lab.old.tlsa,)
        assert lab.resolver.ask().rcode == "SERVFAIL"
        lab.secondary.restore_signatures()
        lab.resolver.ask_all()
        wait_for(lambda: lab.resolver.fill().authenticated, "signatures are good again")
        new = lab.certificate().tlsa
        assert update(lab.tsig_key, OWNER, new) == "NOERROR"
        wait_for(lambda: new in lab.secondary.tlsa().records, "the secondary follows again")

    def test_killed_and_back(self, lab: Lab) -> None:
        """A killed secondary answers nothing; started again it serves what came meanwhile."""
        lab.secondary.kill()
        with pytest.raises((LabError, OSError)):
            lab.secondary.serial()
        new = lab.certificate().tlsa
        assert update(lab.tsig_key, OWNER, new) == "NOERROR"
        assert lab.resolver.fill().authenticated
        lab.secondary.start()
        wait_for(lambda: new in lab.secondary.tlsa().records, "the secondary catches up", 20)


class TestResolvers:
    def test_fill_is_the_worst_moment(self, lab: Lab) -> None:
        """A filled cache keeps the old RRset after a change, and counts down without being asked."""
        resolver = lab.senders[0].resolver
        resolver.fill()
        replace_record(lab, lab.certificate().tlsa)
        first = resolver.cached()
        assert first.records == (lab.old.tlsa,)
        assert 0 < first.ttl <= lab.ttl
        wait_for(lambda: 0 < resolver.cached().ttl < first.ttl, "the cache counts down")
        resolver.flush()
        assert resolver.cached().records == ()


class TestMail:
    def test_load_is_verified_in_every_second(self, shared_lab: Lab) -> None:
        """Under load five messages or more arrive in each second; all are Verified, none is deferred."""
        lab = shared_lab
        lab.load.start()
        time.sleep(2)
        since = lab.mail.mark()
        time.sleep(6)
        until = lab.mail.mark()
        lab.load.stop()
        assert lab.mail.minimum_arrivals(since, until) >= 5
        assert lab.mail.arrivals().total() == len(lab.load.injected)
        assert lab.mail.verified == lab.mail.sent == len(lab.load.injected) >= 60
        assert (lab.mail.other, lab.mail.deferred, lab.mail.bounced) == (0, 0, 0)

    def test_wrong_record_is_counted_as_deferrals(self, lab: Lab) -> None:
        """With a record that matches nothing every message is deferred, and none is sent."""
        replace_record(lab, lab.certificate().tlsa)
        for sender in lab.senders:
            sender.resolver.fill()
        lab.load.start()
        time.sleep(2)
        lab.load.stop()
        assert lab.mail.sent == lab.mail.verified == 0
        assert lab.mail.deferred == len(lab.load.injected) >= 10
        assert lab.mail.other == lab.mail.deferred, "each was an attempt with a connection of its own"
        assert all("Server certificate not verified" in reason for reason in lab.mail.reasons)

    def test_dead_mx_is_counted_as_deferrals(self, lab: Lab) -> None:
        """While the MX is down messages are deferred; after it is back they are sent again."""
        lab.mx.stop()
        lab.load.send(3)
        wait_for(lambda: lab.mail.deferred == 3, "three deferrals")
        lab.mx.start()
        lab.load.send(3, sender=1)
        wait_for(lambda: lab.mail.sent == 3, "three deliveries")

    def test_marks_cut_the_log(self, tmp_path: Path) -> None:
        """Counts since a mark leave out what came before; an empty second counts as none."""
        log = tmp_path / "log"
        line = "Nov 22 16:48:{:02} s postfix/smtp[1]: {}: to=<a@b>, relay=x, status={} (why)\n"
        log.write_text(line.format(10, "A", "sent"))
        mail = MailLog({"s": log})
        mark = mail.mark()
        with log.open("a") as file:
            file.write(line.format(10, "B", "deferred") + line.format(12, "C", "bounced"))
            file.write("Nov 22 16:48:12 s postfix/smtp[1]: Untrusted TLS connection established to x\n")
        later = mail.since(mark)
        assert (mail.sent, later.sent, later.deferred, later.bounced, later.other) == (1, 0, 1, 1, 1)
        assert list(mail.per_second().values()) == [2, 1]
        assert mail.outcomes() == {"A", "B", "C"}

    def test_arrivals_are_counted_by_the_second(self, tmp_path: Path) -> None:
        """A message counts in the second in which a sender took it in; its outcome does not; an empty second is 0."""
        log = tmp_path / "log"
        line = "Nov 22 16:48:{:02} s postfix/{}[1]: {}\n"
        lines = [(10, "smtpd", "A: client=x[::1]"), (11, "smtpd", "B: client=x[::1]"), (11, "smtpd", "C: client=x")]
        lines += [(13, "smtpd", "D: client=x"), (12, "smtpd", "connect from x[::1]"), (14, "smtp", "E: client=x")]
        lines += [(12, "smtp", "A: to=<a@b>, relay=x, status=sent (ok)")]
        log.write_text("".join(line.format(*one) for one in lines))
        mail = MailLog({"s": log})
        assert mail.messages == 1
        counts = mail.arrivals()
        first = min(counts)
        assert counts == {first: 1, first + 1: 2, first + 3: 1} == mail.arrivals()
        assert mail.minimum_arrivals(Mark(0, first), Mark(0, first + 2)) == 2
        assert mail.minimum_arrivals(Mark(0, first), Mark(0, first + 4)) == 0
        with pytest.raises(ValueError, match="no whole second"):
            mail.minimum_arrivals(Mark(0, first), Mark(0, first + 1))


class TestMx:
    def test_broken_main_cf_survives_reload_and_kills_smtpd(self, lab: Lab) -> None:
        """A bad main.cf lets `postfix reload` succeed, and no smtpd greets until it is repaired."""
        lab.mx.break_main_cf()
        lab.mx.reload()

        def is_dead() -> bool:
            try:
                lab.served()
            except OSError as error:
                assert re.search("closed|reset|timed out", str(error)), error
                return True
            return False

        wait_for(is_dead, "the last process of before is gone")
        lab.mx.repair_main_cf()
        lab.mx.reload()
        wait_for(lambda: lab.served() == lab.old.spki, "smtpd greets again", 30, 0.5)

    def test_disarmed_reload_changes_nothing(self, lab: Lab) -> None:
        """With reload disarmed a replaced file is not served; rearmed, the next reload serves it."""
        new = lab.certificate()
        lab.mx.disarm_reload()
        directory = lab.mx.directory / "tls"
        (directory / "key.pem").write_bytes(new.privkey.read_bytes())
        (directory / "cert.pem").write_bytes(new.fullchain.read_bytes())
        lab.mx.reload()
        assert lab.served() == lab.old.spki
        lab.mx.rearm_reload()
        lab.mx.reload()
        wait_for(lambda: lab.served() == new.spki, "the new certificate is served")

    @pytest.mark.parametrize("key", ["p256", "p384", "rsa"])
    def test_serves_each_key_type(self, start_lab, key: str) -> None:
        """The first certificate may have any key type that Postfix serves, in a chain file too."""
        lab = start_lab(key=key, chain_file=True, senders=False)
        assert presented(lab.mx.address, sni="mail.example.test") == lab.old.leaf
        assert lab.mx.get("smtpd_tls_cert_file") == ""

    def test_second_endpoint_presents_another(self, start_lab) -> None:
        """A second MX address, and an IPv6 one, can present a certificate of their own."""
        lab = start_lab(mx_addresses=("127.0.0.25", "2001:db8::25"), senders=False)
        other = lab.certificate()
        lab.second_mx(other)
        assert served(MX_SECOND) == other.spki
        assert served("2001:db8::25") == lab.old.spki
        assert lab.resolver.ask("mail.example.test.", "AAAA").rrset.records == ("2001:db8::25",)


class TestProxy:
    def test_answer_is_lost_after_the_update_was_applied(self, shared_lab: Lab) -> None:
        """The client hears nothing, the primary has the record, and the proxy counted one."""
        lab = shared_lab
        proxy, rdata = lab.update_proxy, lab.certificate().tlsa
        lost = proxy.lost_answers
        proxy.lose_answers(1)
        with pytest.raises(dns.exception.Timeout):
            update(lab.tsig_key, "_465._tcp.mail.example.test.", rdata, where=proxy.address)
        assert proxy.lost_answers == lost + 1
        assert rdata in lab.primary.tlsa("_465._tcp.mail.example.test.").records
        assert update(lab.tsig_key, "_465._tcp.mail.example.test.", rdata, where=proxy.address) == "NOERROR"

    def test_request_is_lost_before_the_primary(self, shared_lab: Lab) -> None:
        """The connection closes, the primary has nothing, and the next one passes."""
        lab = shared_lab
        proxy, rdata = lab.update_proxy, lab.certificate().tlsa
        lost = proxy.lost_requests
        proxy.lose_requests(1, loss="hangup")
        with pytest.raises((EOFError, OSError)):
            update(lab.tsig_key, "_995._tcp.mail.example.test.", rdata, where=proxy.address)
        assert proxy.lost_requests == lost + 1
        assert not lab.primary.tlsa("_995._tcp.mail.example.test.")
        assert update(lab.tsig_key, "_995._tcp.mail.example.test.", rdata, where=proxy.address) == "NOERROR"

    @pytest.mark.parametrize(
        ("reply", "error"),
        [
            (junk.silence, dns.exception.Timeout),
            (junk.garbage, dns.exception.DNSException),
            (junk.wrong_id, dns.query.BadResponse),
            (junk.cut_short, dns.exception.DNSException),
        ],
    )
    def test_junk_is_junk(self, shared_lab: Lab, reply: junk.Reply, error: type[Exception]) -> None:
        """A junk server's answers are of the kind they are called, to a client that checks."""
        server = shared_lab.junk_server(reply)
        try:
            with pytest.raises(error):
                dns.query.tcp(dns.message.make_query(OWNER, "TLSA"), server.address, timeout=0.5)
            assert server.queries == 1
        finally:
            server.stop()

    def test_junk_can_be_readable(self, shared_lab: Lab) -> None:
        """Truncated and wrong-class answers are well-formed messages, wrong only in what they say."""
        server = shared_lab.junk_server(junk.truncated)
        try:
            query = dns.message.make_query(OWNER, "TLSA")
            answer = dns.query.tcp(query, server.address, timeout=1)
            assert (bool(answer.flags & dns.flags.TC), answer.answer) == (True, [])
            server.reply = junk.wrong_class
            (rrset,) = dns.query.tcp(query, server.address, timeout=1).answer
            assert rrset.rdclass == dns.rdataclass.CH
        finally:
            server.stop()

    def test_junk_can_be_malformed_tlsa(self, shared_lab: Lab) -> None:
        """A TLSA record of too few octets arrives as such, and can be read with tolerance."""
        server = shared_lab.junk_server(junk.tlsa(b"\x03\x01"))
        try:
            query = dns.message.make_query(OWNER, "TLSA")
            with pytest.raises(dns.exception.DNSException):
                dns.query.tcp(query, server.address, timeout=1)
        finally:
            server.stop()


class TestTool:
    def test_clock_jumps_and_boot_time_stays(self) -> None:
        """With an offset the wall clock jumps, monotonic and boot-time clocks and files do not."""
        program = (
            "import time, os; print(time.time(), time.clock_gettime(time.CLOCK_MONOTONIC),"
            "time.clock_gettime(time.CLOCK_BOOTTIME), os.stat('/run/rollover-lab').st_mtime)"
        )
        seen = [
            [
                float(word)
                for word in subprocess.run(
                    [sys.executable, "-c", program],
                    env=environment(offset, None),
                    capture_output=True,
                    check=True,
                ).stdout.split()
            ]
            for offset in (None, "+400s")
        ]
        wall, monotonic, boot, file = (after - before for before, after in zip(*seen, strict=True))
        assert 400 <= wall < 430
        assert 0 <= monotonic < 30
        assert 0 <= boot < 30
        assert file == 0

    def test_command_is_run_on_the_lab_configuration(self, shared_lab: Lab, tmp_path: Path, monkeypatch) -> None:
        """The command gets the lab's configuration, input and environment; `check` asserts its exit code."""
        program = tmp_path / "bin" / "rollover"
        program.parent.mkdir()
        program.write_text('#!/bin/sh\necho "$@ $MARK"; cat; exit 75\n')
        program.chmod(0o755)
        monkeypatch.setattr(sys, "prefix", str(tmp_path))
        monkeypatch.setenv(warm.COLD, "1")
        done = shared_lab.rollover("advance", "--quiet", check=75, env={"MARK": "m"}, input="in")
        assert done.stdout == f"--config {shared_lab.config_file} advance --quiet m\nin"
        with pytest.raises(AssertionError, match="`rollover status` exited 75, not 0"):
            shared_lab.rollover("status", check=0)

    @pytest.mark.parametrize(
        "words",
        [
            ["--version"],
            ["status", "nobody"],
            ["advance"],
            ["history", "nobody"],
            ["deploy", "/n", "/n"],
            ["adopt", "-h"],
            [],
        ],
    )
    def test_a_fork_does_what_the_program_does(self, shared_lab: Lab, words: list[str], monkeypatch) -> None:
        """Exit code, output and errors are the same, whether the interpreter is started or forked."""
        warm_run = shared_lab.rollover(*words)
        monkeypatch.setenv(warm.COLD, "1")
        cold_run = shared_lab.rollover(*words)
        assert (warm_run.returncode, warm_run.stdout, warm_run.stderr) == (
            cold_run.returncode,
            cold_run.stdout,
            cold_run.stderr,
        )

    def test_configuration_takes_changes(self, shared_lab: Lab) -> None:
        """Changes replace, add and leave out keys, and the result is TOML."""
        import tomllib

        lab = shared_lab
        path = lab.configure(retain="9s", drain=None, primary=lab.update_proxy.address, alert={"command": ["x"]})
        parsed = tomllib.loads(path.read_text())
        mail = parsed["services"]["mail"]
        assert (mail["retain"], "drain" in mail, parsed["dns"]["primary"]) == ("9s", False, "127.0.0.55")
        assert mail["install"][0]["config_directory"] == str(lab.mx.config_directory)
        assert parsed["alert"]["command"] == ["x"]
        lab.configure()

    def test_toml_of_tables(self) -> None:
        """Nested tables and arrays of tables keep their place."""
        import tomllib

        tables = {"a": {"b": [{"c": 'q"'}, {"c": "ü"}], "d": [1, 2]}, "e": True}
        assert tomllib.loads(toml(tables)) == tables


class TestWarm:
    def run(self, script: str, *argv: str, env: dict[str, str] | None = None, **options) -> subprocess.CompletedProcess:
        """Run *script* as the tool is run."""
        environment = {**os.environ, "SCRIPT": script, **(env or {})}
        with closing(warm.Warm()) as server:
            return server.run("tests.servers.script:main", argv, env=environment, **options)

    def test_a_process_of_its_own(self) -> None:
        """Arguments, environment, directory, streams and exit code are what a new process would have."""
        script = (
            "print(sys.argv, os.environ['A'], os.getcwd(), sys.stdin.read()); print('e', file=sys.stderr); code = 7"
        )
        done = self.run(script, "a", "b c", env={"A": "1"}, input="in")
        assert (done.returncode, done.stdout, done.stderr) == (7, f"['a', 'b c'] 1 {Path.cwd()} in\n", "e\n")
        assert "A" not in os.environ

    def test_nothing_of_one_run_is_in_the_next(self) -> None:
        """What a run does to its interpreter, and to its descriptors, ends with it."""
        script = "print(getattr(sys, 'left', 'nothing'), sorted(os.listdir('/proc/self/fd'))); sys.left = 'this'"
        with closing(warm.Warm()) as server:
            for _ in range(2):
                done = server.run("tests.servers.script:main", [], env={**os.environ, "SCRIPT": script})
                assert done.stdout == "nothing ['0', '1', '2', '3']\n", done  # 3: the directory that is read

    def test_an_end_by_force(self) -> None:
        """A signal is told as subprocess tells it; one that does not end is killed."""
        assert self.run("os.kill(os.getpid(), 9)").returncode == -9
        begin = time.monotonic()
        with pytest.raises(subprocess.TimeoutExpired):
            self.run("import time; time.sleep(60)", seconds=0.5)
        assert time.monotonic() - begin < 30

    def test_who_changes_the_interpreter_gets_a_new_one(self) -> None:
        """Python's own variables and those of the C library are read at the start only."""
        assert warm.fits({**os.environ, "A": "1"})
        for name in ("PYTHONPATH", "LD_PRELOAD", "TZ", "LC_ALL", "FAKETIME"):
            assert not warm.fits({**os.environ, name: "another"})


class TestAcme:
    def test_certbot_obtains_and_renews_from_pebble(self, lab: Lab) -> None:
        """Real certbot gets a certificate by dns-01, renews it with and without its key, runs hooks."""
        hooks = Path("/etc/letsencrypt/renewal-hooks/deploy")
        hooks.mkdir(parents=True)
        hook, trace = hooks / "trace", lab.directory / "trace"
        hook.write_text(f'#!/bin/sh\necho "$RENEWED_LINEAGE" >>{trace}\n')
        hook.chmod(0o755)
        first = lab.certbot.certonly()
        assert [str(name) for name in _names(first)] == ["mail.example.test"]
        assert lab.trust_file.read_text().count("BEGIN CERTIFICATE") == 2
        spki = first.spki
        lab.certbot.renew(first.directory.name, reuse_key=True)
        assert lab.certbot.lineage().spki == spki
        lab.certbot.renew(first.directory.name)
        assert lab.certbot.lineage().spki != spki
        assert trace.read_text().splitlines() == ["/etc/letsencrypt/live/mail.example.test"] * 2


def _names(certificate) -> list[str]:
    from cryptography import x509

    names = certificate.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return names.value.get_values_for_type(x509.DNSName)
