"""The lower bounds of the dependencies are read as they stand in pyproject.toml."""

from __future__ import annotations

import tomllib

import pytest

from tests.lowest import ROOT, lowest


def test_every_dependency_has_a_lowest_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found = lowest(project)
    assert len(found) == len(project["project"]["dependencies"])
    assert found["hivemind"] == "1.1.12"


def test_a_dependency_without_a_lower_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="'numpy'"):
        lowest({"project": {"dependencies": ["torch>=2.6,<3", "numpy"]}})
