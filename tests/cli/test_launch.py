"""The scripts find the project's own Python when they are run with another one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_python_without_the_dependencies_hands_over_to_the_one_of_the_project(tmp_path: Path) -> None:
    own_python = tmp_path / ".venv" / "bin" / "python"
    own_python.parent.mkdir(parents=True)
    own_python.write_text('#!/bin/sh\necho "the own python runs $*"\n', encoding="utf-8")
    own_python.chmod(0o755)
    source = tmp_path / "src"
    source.mkdir()
    for name in ("launch.py", "trainGossipCifar.py"):
        (source / name).write_bytes((ROOT / "src" / name).read_bytes())
    # -I -S: a Python that sees nothing of what is installed for this one.
    ended = subprocess.run(
        [sys.executable, "-S", "src/trainGossipCifar.py", "--batch", "64"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stdout == "the own python runs src/trainGossipCifar.py --batch 64\n"


def test_a_clone_in_which_nothing_is_installed_says_what_to_run(tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    for name in ("launch.py", "trainGossipCifar.py"):
        (source / name).write_bytes((ROOT / "src" / name).read_bytes())
    ended = subprocess.run(
        [sys.executable, "-S", "src/trainGossipCifar.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert f"make -C {tmp_path} setup" in ended.stderr
    assert "Traceback" not in ended.stderr
