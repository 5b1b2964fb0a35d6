"""What tests of every floor share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import Command, Family

ROOT = Path(__file__).parents[1]


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
def real_cifar() -> Path:
    """A folder in which the real CIFAR-10 is found; tests that need it are skipped where there is none."""
    named = os.environ.get("GOSSIPTRAIN_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not (folder / "cifar-10-batches-py").is_dir():
        pytest.skip(f"no real data: there is no cifar-10-batches-py in {folder}, and GOSSIPTRAIN_DATA names no other")
    return folder
