"""Reactions that can be taken out: for each fault, how the tool would be without what it does about it."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable
from typing import Any

Swap = Callable[[str, Callable[[Any], Any]], None]
Taking = Callable[[Swap], object]
#: By fault; several where its tests show several reactions: each test has to fail without one of them.
WITHOUT: dict[int, dict[str, Taking]] = {}


def without(number: int, name: str) -> Callable[[Taking], Taking]:
    """Enter how the reaction to fault *number* is taken out; *name* tells what the tool does not do then."""

    def enter(it: Taking) -> Taking:
        known = WITHOUT.setdefault(number, {})
        assert name not in known, f"{number}: {name}"
        known[name] = it
        return it

    return enter


def also(number: int, like: int, *names: str) -> None:
    """Enter for fault *number* what is known of fault *like* under these names."""
    for name in names:
        without(number, name)(WITHOUT[like][name])


def take_out(number: int, name: str) -> None:
    """Take it out of this process, for good, wherever the tool has a name for it."""
    import_the_tool()
    WITHOUT[number][name](swap)


def swap(target: str, by: Callable[[Any], Any]) -> None:
    """Put what *by* makes of *target* in its place: "room.module.function", "room.module.Class.method", below rollover.

    Every module of the tool that has imported it gets the other one.
    """
    holder, last = place(target)
    was = holder.__dict__[last]
    new = by(was)
    setattr(holder, last, new)
    if holder in sys.modules.values():
        for name, other in list(sys.modules.items()):
            if name.startswith("rollover."):
                for known, it in list(vars(other).items()):
                    if it is was:
                        setattr(other, known, new)


def place(target: str) -> tuple[Any, str]:
    """Return the module or class that has *target*, and its name there. Raises LookupError, AttributeError."""
    parts = ["rollover", *target.split(".")]
    for end in range(len(parts) - 1, 0, -1):
        if (holder := sys.modules.get(".".join(parts[:end]))) is not None:
            for part in parts[end:-1]:
                holder = getattr(holder, part)
            return holder, parts[-1]
    raise LookupError(target)


def import_the_tool() -> None:
    """Import every module of it, so that each name that it has for something is found."""
    import rollover

    for module in pkgutil.walk_packages(rollover.__path__, "rollover."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


# ------------------------------------------------------------------------------------------ what many are made of


def never(*_: Any, **__: Any) -> None:
    """Do nothing, and find nothing."""


def nothing(was: Any) -> Any:
    """Return a function that does nothing in place of *was*, which may be a coroutine function."""
    import inspect

    async def later(*_: Any, **__: Any) -> None: ...

    return later if inspect.iscoroutinefunction(was) else never


def always(value: Any) -> Callable[[Any], Any]:
    """Return what makes a function, or a property, that gives *value* whatever it is asked."""
    return lambda was: property(lambda _: value) if isinstance(was, property) else lambda *_, **__: value
