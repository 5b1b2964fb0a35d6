"""How a node is started."""

from __future__ import annotations

import os
import site
from pathlib import Path

import pytest

from gossiptrain.node import handle


def test_what_is_installed_never_goes_before_the_standard_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(tmp_path)])
    monkeypatch.setattr(handle, "__file__", str(tmp_path / "gossiptrain" / "node" / "handle.py"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert handle._python_path() == ""
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    assert handle._python_path() == "/somewhere"


def test_the_node_finds_a_package_that_is_run_from_its_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handle, "__file__", str(tmp_path / "gossiptrain" / "node" / "handle.py"))
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    assert handle._python_path().split(os.pathsep) == [str(tmp_path), "/somewhere"]
