"""Which directories ``advance`` writes to, for the sandbox of its unit."""

from __future__ import annotations

from pathlib import Path

from rollover.config.models import Config, PostfixInstall
from rollover.mail.errors import MailError
from rollover.mail.mastercf import postconf


def writable(config: Config) -> list[Path]:
    """Return the state directory, those of the live files, and queue and data of each Postfix instance."""
    found = [config.state]
    for service in config:
        for install in service.installs:
            found += [path.parent for path in install.files.values()]
            if isinstance(install, PostfixInstall):
                found += _instance(install.config_directory)
    return list(dict.fromkeys(found))


def _instance(config_directory: Path) -> list[Path]:
    try:
        lines = postconf(str(config_directory), "-xh", "queue_directory", "data_directory").split("\n")
    except MailError:
        return []  # no Postfix there yet: `rollover check` tells
    return [Path(line.strip()) for line in lines if line.strip()]
