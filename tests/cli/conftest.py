"""Commands make their run folders in the working directory: each test gets one of its own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`runs/` and everything else is made under the test's temporary folder."""
    monkeypatch.chdir(tmp_path)
