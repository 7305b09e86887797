"""Every problem that ``status`` can name: its stable code, level, and the hint that helps.

One table, so that the README, ``status`` and the tests cannot disagree. A hint may use {service}.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """Levels of monitoring; the numbers are the exit codes of ``status``."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the table."""

    code: str
    level: Level
    meaning: str
    hint: str


KINDS: dict[str, Kind] = {
    k.code: k
    for k in (
        # --- mail is, or is about to be, deferred
        Kind(
            "mail-deferred",
            Level.CRITICAL,
            "A server publishes an RRset that the served certificate does not match: DANE senders defer.",
            "run `rollover advance {service}`; the repair is tried at every tick. See: rollover history {service}",
        ),
        Kind(
            "deferral-ahead",
            Level.CRITICAL,
            "The hidden primary has an RRset that the served certificate does not match; its secondaries take it over.",
            "run `rollover advance {service}`; the repair is tried at every tick. See: rollover history {service}",
        ),
        Kind(
            "caches-stale",
            Level.CRITICAL,
            "No server shows it any more, but resolvers may still hold an RRset that the served certificate does not match.",
            "it is over by itself within the seconds named. What happened: `rollover history {service}`",
        ),
        Kind(
            "unknown-certificate",
            Level.CRITICAL,
            "An endpoint or the live file has a certificate that was never handed to this tool; its key is not published.",
            "if it is wanted: `rollover deploy FULLCHAIN KEY --service {service}`; else find out who installed it",
        ),
        Kind(
            "install-failed",
            Level.CRITICAL,
            "The installed certificate does not work and there is nothing left to return to by itself.",
            "look at the mail server's log; `rollover rollback {service} --to FINGERPRINT` installs another certificate",
        ),
        Kind(
            "returned",
            Level.CRITICAL,
            "The new certificate failed when it was served; the previous one was put back.",
            "look at the mail server's log, mend the cause, then `rollover rollback {service} --to FINGERPRINT` (the failed one) tries it again",
        ),
        Kind(
            "endpoint-failing",
            Level.CRITICAL,
            "An endpoint gives no greeting, refuses TLS, or presents what DNS does not match.",
            "look at the mail server's log (`postfix check`, `journalctl -u postfix`)",
        ),
        Kind(
            "endpoint-old",
            Level.CRITICAL,
            "An endpoint still presents the old certificate long after the reload; the old record stays.",
            "find the process that was not reloaded: `postfix status`, `ss -tlnp`; then `postfix stop; postfix start`",
        ),
        Kind(
            "endpoint-unreachable",
            Level.WARNING,
            "An endpoint cannot be reached from here; nothing is withdrawn until it can.",
            "check the address and the firewall; if it does not belong to this service, set `addresses`",
        ),
        Kind(
            "dane-off",
            Level.CRITICAL,
            "The TLSA RRset is empty though it was not before: somebody switched DANE off.",
            "if that was a mistake: `rollover resume {service}` publishes again; if it was wanted: `rollover release {service}`",
        ),
        # --- DNS
        Kind(
            "secondary-stale",
            Level.WARNING,
            "A name server does not serve the current RRset yet; nothing is installed meanwhile.",
            "on that server: `rndc retransfer ZONE`; check NOTIFY and allow-transfer. If it is gone for good, take it out of the NS RRset, and the zone away from it: its old copy may name itself",
        ),
        Kind(
            "server-unreachable",
            Level.WARNING,
            "A name server does not answer; nothing is installed meanwhile.",
            'start it, or open port 53 (UDP and TCP) to it; for a known outage: `ignore = [{{server = "…", until = "DATE"}}]`',
        ),
        Kind(
            "primary-unreachable",
            Level.WARNING,
            "The primary does not answer; nothing can be published.",
            "check `[dns] primary`, that named runs there, and TCP port 53",
        ),
        Kind(
            "signature-bad",
            Level.CRITICAL,
            "A public name server serves signatures that do not verify: validating senders cannot deliver.",
            "on that server look at the zone's signatures: `dig +dnssec @SERVER OWNER TLSA`, `rndc signing -list ZONE`, and whether transfers work",
        ),
        Kind(
            "signature-expiring",
            Level.CRITICAL,
            "A public name server serves signatures that end soon: the zone is not signed any more. Nothing is installed or withdrawn.",
            "on the signer: its log, `rndc signing -list ZONE`, `rndc dnssec -status ZONE`, and whether it can read the zone's keys",
        ),
        Kind(
            "zone-insecure",
            Level.CRITICAL,
            "The validating resolver does not authenticate the zone: DANE is off for every sender.",
            "check the DS record at the parent and that `resolver` validates: `dig +adflag OWNER TLSA` must show the ad flag",
        ),
        Kind(
            "resolver-failed",
            Level.WARNING,
            "The validating resolver gives no answer for the owner.",
            "check `[dns] resolver`; SERVFAIL there means that senders cannot deliver either: `dig +cd` tells whether it is DNSSEC",
        ),
        Kind(
            "resolver-stale",
            Level.WARNING,
            "The resolver still holds an RRset that the new certificate does not match, though its TTL is over.",
            "it stretches TTLs (serve-stale, cache-min-ttl): flush it, or set `min_wait`; other resolvers may do the same",
        ),
        Kind(
            "update-refused",
            Level.WARNING,
            "The primary refuses our updates.",
            "if the zone is frozen: `rndc thaw ZONE`; else add the grant that `rollover check {service}` prints",
        ),
        Kind(
            "update-failed",
            Level.WARNING,
            "An update could not be sent or failed at the primary.",
            "see the message; `rollover check {service}` tests key, clock and grant without changing anything",
        ),
        Kind(
            "update-unknown",
            Level.WARNING,
            "An update got no answer that can be trusted; it may have been applied.",
            "nothing to do: the next tick reads what is there; if it stays, look at TCP port 53 of the primary",
        ),
        Kind(
            "update-not-applied",
            Level.CRITICAL,
            "The primary answered NOERROR and did not change the RRset.",
            "look for a limit such as `TLSA(1)` in update-policy and for a CNAME at the owner",
        ),
        Kind(
            "ttl-kept",
            Level.WARNING,
            "The primary did not take the TTL that `ttl` asks for; the records are as wanted, and nothing waits for it.",
            "see max-zone-ttl of the primary (dnssec-policy), or set `ttl` to what it allows, or to keep",
        ),
        Kind(
            "tsig-badkey",
            Level.WARNING,
            "The primary does not know our TSIG key by this name and algorithm.",
            "compare `[dns] tsig_key` with the key statement in named.conf: the name and the algorithm have to be the same",
        ),
        Kind(
            "tsig-badsig",
            Level.WARNING,
            "The primary knows our TSIG key with another secret.",
            "copy the key file from the primary again, exactly as tsig-keygen wrote it",
        ),
        Kind(
            "clock",
            Level.CRITICAL,
            "Our clock and the primary's differ: every wait stands still.",
            "set the clocks: `timedatectl`, `chronyc tracking`, here and on the primary",
        ),
        Kind(
            "owner-blocked",
            Level.CRITICAL,
            "The owner cannot be managed: a CNAME loop, a dangling CNAME, or a target in a zone without a key.",
            "see the message; for a target in another zone add a [[dns.zone]] block with its key",
        ),
        Kind(
            "wildcard-shadow",
            Level.CRITICAL,
            "The record comes from a wildcard high above the owner; an explicit record would hide it from other names.",
            "publish an explicit TLSA RRset for {service}'s owners by hand first, equal to what the wildcard gives",
        ),
        Kind(
            "foreign-record",
            Level.CRITICAL,
            "A record of somebody else would make DANE senders refuse the new certificate; it is not installed.",
            'if it is not needed any more: `rollover adopt {service} --remove "RDATA"` with the record named in the message',
        ),
        Kind(
            "update-unsafe",
            Level.CRITICAL,
            "The needed update would make senders refuse a certificate that is in use; it was not sent.",
            "see `dig OWNER TLSA` and `rollover history {service}`; remove foreign records with `rollover adopt {service} --remove`",
        ),
        Kind(
            "server-ignored",
            Level.WARNING,
            'A name server is left out of "everywhere" by the configuration.',
            "take it out of `ignore` when it is well again",
        ),
        # --- mail server
        Kind(
            "live-file",
            Level.CRITICAL,
            "The live file is missing or unusable: a restart of the mail server would serve nothing.",
            "`rollover advance {service}` writes it again; see the message for what is wrong with it",
        ),
        Kind(
            "wiring",
            Level.CRITICAL,
            "The mail server's configuration does not read the file that this tool writes.",
            "`rollover adopt {service}` points it there again; see the message for the parameter",
        ),
        Kind(
            "install-refused",
            Level.CRITICAL,
            "The live file could not be written or the daemon could not be reloaded.",
            "see the message; `rollover advance {service}` tries again",
        ),
        # --- certificates
        Kind(
            "certificate-expired",
            Level.CRITICAL,
            "The served certificate is expired (DANE-EE senders still accept it; others do not).",
            "renew it: see the ACME client's log",
        ),
        Kind(
            "certificate-expiring",
            Level.WARNING,
            "The served certificate expires soon and no other waits.",
            "see the ACME client's log; then `rollover deploy FULLCHAIN KEY`",
        ),
        Kind(
            "certificate-late",
            Level.WARNING,
            "The served certificate expires before the new one can be ready.",
            "lower the TTL of the TLSA RRset; see `rollover status --json` for the time",
        ),
        Kind(
            "source-rejected",
            Level.WARNING,
            "The source has a certificate that cannot be served.",
            "see the message; the old certificate stays. Mend the ACME client's order, then it is picked up by itself",
        ),
        Kind(
            "goal-unusable",
            Level.CRITICAL,
            "The wanted certificate cannot be served: expired, revoked, or its key is gone.",
            "`rollover rollback {service}` or `rollover deploy` another one",
        ),
        # --- the tool itself
        Kind(
            "not-adopted",
            Level.WARNING,
            "The service was never adopted: nothing is done for it.",
            "run `rollover check {service}`, then `rollover adopt {service}`",
        ),
        Kind(
            "run-failed",
            Level.CRITICAL,
            "The last run was stopped by an error: nobody looked, and nothing was done. A warning if it passes by itself.",
            "see the message; `rollover advance {service}` tries again",
        ),
        Kind(
            "first-record",
            Level.CRITICAL,
            "A first TLSA record would turn DANE on for an address that does not work; it is not published.",
            "see the message; make that address work, or set `addresses` or `ports` of the service without it",
        ),
        Kind("paused", Level.WARNING, "A person paused the service.", "`rollover resume {service}`"),
        Kind(
            "releasing",
            Level.WARNING,
            "A release was begun and is not finished; what is served is protected, nothing else is done.",
            "if it is not running any more: `rollover release {service}` again, or `rollover resume {service}` to keep it",
        ),
        Kind(
            "stuck",
            Level.CRITICAL,
            "The tool stands still, and no other problem says why.",
            "see `rollover history {service}`; `rollover advance {service}` tries again",
        ),
        Kind(
            "stale-look",
            Level.UNKNOWN,
            "Nobody looked for longer than three `check_every`: is the timer running?",
            "`systemctl status rollover-advance.timer`, or look at the crontab; `rollover advance {service}`",
        ),
        Kind(
            "never-looked", Level.UNKNOWN, "Nothing was ever observed for this service.", "`rollover advance {service}`"
        ),
    )
}


#: What happens to an effect, so that a look cannot meet it: known from the last run, until one ends without it.
BY_A_RUN = frozenset(
    {
        "install-refused",
        "run-failed",
        "tsig-badkey",
        "tsig-badsig",
        "ttl-kept",
        "update-failed",
        "update-not-applied",
        "update-refused",
        "update-unknown",
    }
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with one service: *code* of the table, *message* with the facts."""

    code: str
    message: str
    level: Level
    hint: str


def problem(code: str, message: str, *, service: str, level: Level | None = None, hint: str = "") -> Problem:
    """Make a problem of a known kind. Raises KeyError for a code that is not in the table."""
    kind = KINDS[code]
    return Problem(code, message, kind.level if level is None else level, hint or kind.hint.format(service=service))
