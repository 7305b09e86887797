"""What mutants there are; each takes what pytest's monkeypatch is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Mutation = Callable[[Any], object]
MUTANTS: dict[str, Mutation] = {}
NEEDS: dict[str, set[str]] = {}


def mutant(name: str, *needs: str) -> Callable[[Mutation], Mutation]:
    """Enter a mutant under its name; *needs*: the events, and the form of the world, without which nobody would notice."""

    def enter(it: Mutation) -> Mutation:
        assert name not in MUTANTS, name
        MUTANTS[name], NEEDS[name] = it, set(needs)
        return it

    return enter


def nothing(*_: Any, **__: Any) -> None:
    return None
