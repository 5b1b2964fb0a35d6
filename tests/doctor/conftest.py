"""What the doctor's tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doctor.stage import Stage, stage_in


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Where faults are planted."""
    monkeypatch.delenv("GOSSIPTRAIN_DATA", raising=False)
    with stage_in(tmp_path) as stage:
        yield stage
