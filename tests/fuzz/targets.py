"""The targets by name. A target takes octets; whatever it raises is a fault of the product.

Errors that an entry documents are caught in the target, as its caller does; everything else comes out:
a KeyError, a RecursionError, a MemoryError, an assertion about what was returned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

CORPUS = Path(__file__).with_name("corpus")

#: Name → module below tests.fuzz with ``target(octets)`` and ``seeds()``.
TARGETS = {
    "certificate": "certificate",
    "config": "config",
    "database": "database",
    "deploy": "deploy",
    "dns-answer": "dns_answer",
    "dns-look": "dns_look",
    "key": "key",
    "postconf": "postconf",
    "probe": "probe",
    "report": "report",
    "rows": "rows",
    "tlsa": "tlsa",
    "tsig-key": "tsig_key",
}


class Target(NamedTuple):
    """One target: *run* takes octets and raises for a fault; *seeds* are sound inputs to begin with."""

    name: str
    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]

    @property
    def corpus(self) -> list[Path]:
        """The kept inputs, in a fixed order."""
        return sorted(path for path in (CORPUS / self.name).glob("*") if path.is_file())


def target(name: str) -> Target:
    """Return the target *name*; raises KeyError for one that does not exist."""
    module = import_module(f"tests.fuzz.{TARGETS[name]}")
    return Target(name, module.target, module.seeds)
