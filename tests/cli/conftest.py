"""What the tests of the commands share."""

from __future__ import annotations

import os

import pytest

from tests.processes import MARK_VARIABLE, Family


@pytest.fixture
def children(family: Family, monkeypatch: pytest.MonkeyPatch) -> Family:
    """The family of all processes that this test starts, in whichever way, and its folder as the working directory."""
    monkeypatch.chdir(family.folder)
    monkeypatch.setenv(MARK_VARIABLE, family.mark)
    monkeypatch.setenv("TMPDIR", os.fspath(family.temporary))
    return family
