"""What tests of every floor share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import Command, Family


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
