"""What all tests share: the lab's fixtures, and its logs beside a failure."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers: options of the `lab` fixture, and the faults of docs/faults.md that a test injects."""
    config.addinivalue_line("markers", "fault(*numbers): injects exactly these faults of tests/faults.py")
    config.addinivalue_line("markers", "lab(**options): options of Lab for the `lab` fixture")


#: Files that take minutes, the longest first: begun last, one of them would keep a single worker busy at the end.
LONG = [
    "rollback",
    "mail_faults",
    "mail_faults_later",
    "faults_dns",
    "faults_mail",
    "update_refused",
    "kill_adopt",
    "kill_return",
    "kill_release",
    "worst_schedules",
    "release",
    "adopt",
    "kill_queue",
    "owner_forms",
    "clock",
    "worst_neighbours",
    "kill_withdraw",
    "key_copies_command",
    "key_copies",
    "hooks_catch_up",
    "kill_install",
    "also_check",
    "ttl",
    "foreign_records",
    "renewal",
    "kill_rollback",
    "second_renewal",
    "concurrency",
    "secondary",
    "faults_host",
    "dane_off",
    "state_faults",
    "bad_material",
    "kill_deploy",
    "update_lost",
    "shapes",
    "unknown_certificate",
    "old_key",
    "shared_rrset",
    "byhand",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest; within a file the order stays."""
    place = {f"test_{name}": number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the end of every server's log to the report of a test that failed on a lab."""
    report = yield
    lab_module = sys.modules.get("tests.lab")
    if report.failed and lab_module is not None:
        for lab in lab_module.Lab.running:
            report.sections.append(("the lab's servers", lab.logs()))
    return report


def _start(options: dict[str, Any]) -> Any:
    # Late: the unit tests need neither the lab nor what it imports.
    from tests.lab import Lab

    # All labs use the same addresses: one at a time.
    for lab in list(Lab.running):
        lab.stop()
    lab = Lab(**options)
    lab.start()
    return lab


@pytest.fixture
def start_lab() -> Iterator[Callable[..., Any]]:
    """Start labs with options given by the test; each ends when the next one starts."""
    started: list[Any] = []

    def start(**options: Any) -> Any:
        started.append(_start(options))
        return started[-1]

    yield start
    for lab in started:
        lab.stop()


@pytest.fixture
def lab(request: pytest.FixtureRequest, start_lab: Callable[..., Any]) -> Any:
    """A lab of the test's own; its options come from `@pytest.mark.lab(ttl=5, …)`."""
    marker = request.node.get_closest_marker("lab")
    return start_lab(**(marker.kwargs if marker else {}))


@pytest.fixture(scope="module")
def _module_labs() -> Iterator[list[Any]]:
    labs: list[Any] = []
    yield labs
    for lab in labs:
        lab.stop()


@pytest.fixture
def shared_lab(request: pytest.FixtureRequest, _module_labs: list[Any]) -> Any:
    """One lab for the tests of a module; its options are the module's `LAB_OPTIONS`.

    It is started anew after a test that had a lab of its own.
    """
    from tests.lab import Lab

    if not _module_labs or _module_labs[-1] not in Lab.running:
        _module_labs.append(_start(getattr(request.module, "LAB_OPTIONS", {})))
    return _module_labs[-1]
