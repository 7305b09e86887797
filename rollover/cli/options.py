"""What every command gets from the global options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rollover.config import Config


@dataclass(frozen=True, slots=True)
class Options:
    """The global options. *config* is None when it was not given."""

    config: Path | None = None
    verbose: bool = False

    def load(self) -> Config:
        """Return the configuration; raises ConfigError or PermissionsError."""
        from rollover.config import load  # here: commands without configuration do not pay for it

        return load(self.config)


def options(ctx: typer.Context) -> Options:
    """Return the global options of the run that *ctx* belongs to."""
    found = ctx.find_object(Options)
    return Options() if found is None else found
