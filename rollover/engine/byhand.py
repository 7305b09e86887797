"""How a person could finish by hand, when the service is blocked: commands and files, nothing hidden."""

from __future__ import annotations

from collections.abc import Iterator

from rollover.config.models import PostfixInstall
from rollover.core.tlsa import EMPTY, needed
from rollover.engine.host import Host
from rollover.engine.look import Looker


def by_hand(host: Host, name: str) -> Iterator[str]:
    """Yield the lines that ``history`` prints for a blocked service."""
    looker = Looker(host, name)
    world = looker.world()
    goal, active = world.goal, looker.credential(world.book.active)
    config = host.config
    yield ""
    yield "# To finish by hand (the tool stands still; `rollover pause` first, `rollover resume` after):"
    if goal is not None and active is not None and goal.fingerprint != active.fingerprint:
        aliases = host.store.aliases()
        yield "# 1. publish the wanted certificate's records, keep those that are there"
        yield f"nsupdate -k {config.dns.tsig_key} <<END"
        if config.dns.primary:
            yield f"server {config.dns.primary.host} {config.dns.primary.port}"
        for owner in world.service.owners:
            ttl = max((e.ttl for e in world.ledger(owner).entries), default=3600)
            for rr in sorted(needed(goal.chain, EMPTY, world.service.records)):
                yield f"update add {aliases.get(owner, owner)} {world.service.ttl or ttl} TLSA {rr}"
        yield "send"
        yield "END"
        longest = max(
            (world.service.patience.span(e.ttl) for o in world.service.owners for e in world.ledger(o).entries),
            default=0,
        )
        yield f"# 2. when every name server has them: wait {round(longest)} s"
    wanted = goal or active
    if wanted is None:
        yield "# the vault has no certificate: deploy one first"
        return
    key, chain = f"{config.state}/vault/keys/{wanted.spki}.pem", f"{config.state}/vault/chains/{wanted.fingerprint}.pem"
    yield "# 3. install the certificate and look at what is presented"
    for install in config.services[name].installs:
        if isinstance(install, PostfixInstall):
            yield f"(umask 077; cat {key} {chain} > {install.chain_file}.new) && mv {install.chain_file}.new {install.chain_file}"
            yield f"postconf -c {install.config_directory} -e smtpd_tls_chain_files={install.chain_file}"
            yield f"postfix -c {install.config_directory} reload"
        else:
            for what, path in install.files.items():
                yield f"# {what}: {path} from {key} and {chain}"
            yield " ".join(install.reload)
    for name_ in world.service.hosts:
        for port in world.service.ports:
            yield f"rollover verify {name_}:{port}"
    yield "# 4. only then remove the old record, one by one: update delete OWNER TLSA RDATA"
