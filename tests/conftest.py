"""What tests of every floor share."""

from __future__ import annotations

import atexit
import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

from tests.processes import Command, Family

ROOT = Path(__file__).parents[1]
# Private swarms are founded in a folder of the tests, never in that of the user who runs them.
_STATE = tempfile.TemporaryDirectory(prefix="gossip-test-state-")
atexit.register(_STATE.cleanup)
os.environ["XDG_STATE_HOME"] = _STATE.name
REAL_FIXTURES = {"family", "children", "stage"}
REAL_KINDS = {"libp2p", "direct"}
BENCHMARKS = ROOT / "tests" / "benchmarks"
REAL_NAMES = {"Daemon", "Libp2pTransport", "Member"}
"""Tests whose file imports one of these start daemons or nodes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks as `real` all tests that start processes of their own, so that `make test-fast` can leave them out."""
    for item in items:
        if isinstance(item, pytest.Function) and is_real(item):
            item.add_marker(pytest.mark.real)


def pytest_collection_finish() -> None:
    """Imports and thousands of tests stay to the end; the collector need not look through them again and again."""
    gc.collect()
    gc.freeze()


def is_real(test: pytest.Function) -> bool:
    """Whether a test starts processes: by its fixtures, by the transport that it runs on, by what its file imports."""
    kind = test.callspec.params.get("kind") if hasattr(test, "callspec") else None
    if REAL_FIXTURES & set(test.fixturenames) or kind in REAL_KINDS or BENCHMARKS in test.path.parents:
        return True
    return bool(names_of_processes(test.module))


def names_of_processes(module: ModuleType) -> set[str]:
    """What a file of tests has imported that starts daemons or nodes."""
    return REAL_NAMES & vars(module).keys()


# How fast this computer is just now says nothing about a law.
settings.register_profile("any computer", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any computer")


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    """Real processes of this test alone; whatever of them is left at its end is killed."""
    with Family(tmp_path) as started:
        yield started


@pytest.fixture
def gossip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `gossip ARGUMENTS...` in this process and in a folder of its own; its node is a process as always."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GOSSIPTRAIN_DATA", raising=False)
    return Command(capsys)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that holds the real data sets; tests that need it are skipped where there is none."""
    named = os.environ.get("GOSSIPTRAIN_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data: GOSSIPTRAIN_DATA is not set, and there is no folder {folder}")
    return folder


@pytest.fixture(scope="session")
def real_cifar(real_data: Path) -> Path:
    """A folder in which CIFAR-10 is found."""
    if not (real_data / "cifar-10-batches-py").is_dir():
        pytest.skip(f"no cifar-10-batches-py in {real_data}")
    return real_data
