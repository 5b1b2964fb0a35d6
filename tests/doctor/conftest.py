"""What the doctor's tests share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.doctor.stage import Stage
from tests.processes import Family


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Where faults are planted. Its processes are ended, and what they ran in is removed, when the test ends."""
    monkeypatch.delenv("GOSSIPTRAIN_DATA", raising=False)
    with ExitStack() as undo, Family(tmp_path) as family:
        yield Stage(tmp_path, family, undo)
