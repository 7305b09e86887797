"""The configuration: TOML → frozen models (interface.md, Configuration).

``load()`` believes nothing: a key that it does not know, a wrong type or a value that cannot be is
a ConfigError that names file, key, value and what would be right. What it returns is complete and
consistent, so that nobody downstream checks again.
"""

from rollover.config.files import DEFAULT_PATH, load
from rollover.config.models import (
    AlertConfig,
    CommandInstall,
    Config,
    DnsConfig,
    IgnoredServer,
    PostfixInstall,
    ServiceConfig,
    ZoneAccess,
    ZoneConfig,
)
from rollover.config.network import NameServer

__all__ = [
    "DEFAULT_PATH",
    "AlertConfig",
    "CommandInstall",
    "Config",
    "DnsConfig",
    "IgnoredServer",
    "NameServer",
    "PostfixInstall",
    "ServiceConfig",
    "ZoneAccess",
    "ZoneConfig",
    "load",
]
