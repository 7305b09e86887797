"""The two renewals. certbot, Postfix, BIND and Unbound are the real ones; so is rollover."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from tests.lab import Certificate, Lab, LabError, wait_for
from tests.lab import addresses as at
from tests.rollover.driving import fill_caches, forget_caches, renewing

from .watch import Watcher

TTL = 20
PER_SECOND = 10
RETAIN = "8s"  # a day on a real host; long enough here to be seen
CALM = 3  # whole seconds without a deferral, after which a renewal is called over

_USUAL_HOOK = """\
#!/bin/sh
# A deploy hook as most hosts have it: install, reload, then change the TLSA record.
set -eu
say() {{ printf '%s %-10s %s\\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1" "$2" >>{log}; }}
umask 077
cat "$RENEWED_LINEAGE/privkey.pem" "$RENEWED_LINEAGE/fullchain.pem" >{chain}.new
mv {chain}.new {chain}
say installed "key and certificate, in the file that Postfix reads"
postfix -c {config} reload
say reloaded "postfix reload"
hash=$(openssl x509 -in "$RENEWED_LINEAGE/cert.pem" -noout -pubkey |
    openssl pkey -pubin -outform DER | openssl dgst -sha256 -r | cut -c1-64)
printf '%s\\n' "server {primary}" "update delete {owner} TLSA" "update add {owner} {ttl} TLSA 3 1 1 $hash" send |
    nsupdate -k {key}
say changed "nsupdate: {owner} TLSA 3 1 1 $hash"
"""


class UsualHook:
    """The deploy hook of a host without rollover, and the log that it keeps."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.log = lab.directory / "usual-hook.log"
        self._path = lab.certbot.config_directory / "renewal-hooks" / "deploy" / "usual-way"

    def install(self) -> None:
        """Put it where certbot looks for it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        text = _USUAL_HOOK.format(
            log=self.log,
            chain=self._lab.mx.get("smtpd_tls_chain_files"),
            config=self._lab.mx.config_directory,
            primary=at.PRIMARY,
            owner=at.OWNER,
            ttl=self._lab.ttl,
            key=self._lab.tsig_key.path,
        )
        self._path.write_text(text)
        self._path.chmod(0o755)

    def run(self, lineage: Path) -> None:
        """Run it by hand, as is done for the first certificate, and begin its log anew."""
        environment = {**os.environ, "RENEWED_LINEAGE": str(lineage)}
        done = subprocess.run([self._path], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(f"the usual hook failed: {done.stdout}{done.stderr}")
        self.log.unlink()

    def remove(self) -> None:
        """Take it away: from here on rollover does that."""
        self._path.unlink()


def obtain(lab: Lab, hook: UsualHook) -> Certificate:
    """Let certbot obtain the first certificate; Postfix presents it, DNS has its record."""
    first = lab.certbot.certonly()
    hook.install()
    hook.run(first.directory)
    wait_for(lambda: lab.served() == first.spki, "Postfix presents the first certificate", 30)
    wait_for(lambda: lab.secondary.tlsa().records == (first.tlsa,), "the secondary has its record", 30)
    forget_caches(lab)
    return first


def usual_way(lab: Lab, watcher: Watcher, hook: UsualHook) -> None:
    """Renew with certbot, whose hook installs, reloads and changes the record. Returns when mail flows again."""
    old = lab.certbot.lineage()
    watcher.names(old=old.tlsa)
    watcher.renewal_begins(with_tool=False, log=hook.log)
    watcher.doing("ready", "mail flows; the first renewal begins in a moment")
    time.sleep(4)
    watcher.doing("certbot", "renews the certificate, with a new key")
    new, cached = _renew(lab, watcher, old, hook="install, reload, change the record")
    watcher.doing("waiting", "until both senders let the old record go", until=cached + lab.ttl)
    wait_for(
        lambda: all(one.resolver.cached().records == (new.tlsa,) for one in lab.senders),
        "both resolvers have the new record",
        90,
        0.2,
    )
    watcher.doing("waiting", "until all mail is delivered again")
    _calm(watcher)


def with_rollover(lab: Lab, watcher: Watcher, hook: UsualHook) -> None:
    """Let rollover take over, and renew with certbot, whose hook calls rollover. Returns when all is done."""
    old = lab.certbot.lineage()
    watcher.names(old=old.tlsa)
    watcher.renewal_begins(with_tool=True)
    watcher.doing("set-up", "rollover adopt mail: takes over the certificate that Postfix serves")
    lab.rollover("adopt", "mail", check=0)
    watcher.doing("set-up", "rollover hook install certbot")
    hook.remove()
    lab.rollover("hook", "install", "certbot", check=0)
    watcher.doing("certbot", "renews the certificate, with a new key")
    new, _ = _renew(lab, watcher, old, hook="rollover deploy")
    watcher.doing("", "")
    done = lab.rollover("advance", "mail", "--wait", seconds=300)
    if done.returncode:
        raise LabError(f"rollover advance --wait exited {done.returncode}: {done.stdout}{done.stderr}")
    if lab.primary.tlsa().records != (new.tlsa,) or lab.served() != new.spki:
        raise LabError(f"rollover ended without the new certificate: {lab.primary.tlsa()}")
    _calm(watcher)


def _renew(lab: Lab, watcher: Watcher, old: Certificate, *, hook: str) -> tuple[Certificate, float]:
    """Run `certbot renew`; right before its *hook*, both resolvers ask for the record.

    That is the worst moment: they hold the old record for one whole TTL.

    Return the new certificate, and when they asked, in Unix seconds.
    """
    with renewing(lab) as renewal:
        new = lab.certbot.lineage()
        watcher.names(old=old.tlsa, new=new.tlsa)
        watcher.doing("certbot", f"calls its deploy hook: {hook}")
        for sender in lab.senders:
            # All of the zone: an answer is kept no longer than the shortest-lived record beside it.
            sender.resolver.flush(at.DOMAIN)
        fill_caches(lab)
        cached = time.clock_gettime(time.CLOCK_REALTIME)
        renewal.let_hooks_run()
    return new, cached


def _calm(watcher: Watcher) -> None:
    """Return once mail has been flowing well for some whole seconds."""
    begin = time.monotonic()
    wait_for(lambda: time.monotonic() > begin + CALM and not _deferring(watcher), "mail is deferred no more", 90, 0.2)


def _deferring(watcher: Watcher) -> bool:
    mail = watcher.scene.mail[watcher.scene.renewal - 1]
    return any(deferred for _, deferred in mail.seconds[-CALM - 1 :])
