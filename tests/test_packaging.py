"""What is published: a wheel and an sdist that hold all that is needed, and nothing else."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling import build
from packaging.requirements import Requirement

import gossiptrain

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "gossiptrain"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def files_in(folder: Path) -> set[str]:
    """Of the package, by their path in it."""
    paths = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix() for path in paths}


def built_from(root: Path, into: Path) -> Path:
    """The wheel of the sources in `root`."""
    before = Path.cwd()
    os.chdir(root)
    try:
        return into / str(build.build_wheel(str(into)))
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by the backend that pip calls, from the working tree, without a network."""
    return built_from(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as pip lays it down."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_the_wheel_holds_the_whole_package_and_nothing_beside_it(unpacked: Path) -> None:
    assert files_in(unpacked / "gossiptrain") == files_in(PACKAGE)
    information = f"gossiptrain-{gossiptrain.__version__}.dist-info"
    assert {path.name for path in unpacked.iterdir()} == {"gossiptrain", information}
    assert (unpacked / information / "licenses" / "LICENSE").is_file()


def test_the_wheel_asks_for_what_the_project_needs_and_brings_the_command(unpacked: Path) -> None:
    (information,) = unpacked.glob("*.dist-info")
    said = email.message_from_string((information / "METADATA").read_text(encoding="utf-8"))
    asked = [Requirement(text) for text in said.get_all("Requires-Dist", [])]
    always = {str(each) for each in asked if each.marker is None}
    assert always == {str(Requirement(text)) for text in PROJECT["dependencies"]}
    assert said["Requires-Python"] == PROJECT["requires-python"]
    assert set(said.get_all("Provides-Extra", [])) == set(PROJECT["optional-dependencies"])
    assert "gossip = gossiptrain.__main__:main" in (information / "entry_points.txt").read_text(encoding="utf-8")


def test_the_command_runs_from_the_wheel_alone(unpacked: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    asked = "import gossiptrain; print(gossiptrain.__file__)"
    where = [sys.executable, "-c", asked], [sys.executable, "-m", "gossiptrain", "--version"]
    told = [
        subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=True)
        for words in where
    ]
    assert Path(told[0].stdout.strip()).is_relative_to(unpacked), "the sources of the project were run"
    assert told[1].stdout.startswith(f"gossip {gossiptrain.__version__}, ")


def test_a_wheel_can_be_built_from_the_sdist(wheel: Path, tmp_path: Path) -> None:
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        sdist = tmp_path / build.build_sdist(str(tmp_path))
    finally:
        os.chdir(before)
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers()}
        archive.extractall(tmp_path, filter="data")
    assert {"README.md", "LICENSE", "constraints.txt", "Makefile", "tests/test_packaging.py"} <= names
    assert not {name for name in names if name.startswith((".venv", "runs/", "dist/"))}
    again = built_from(tmp_path / f"gossiptrain-{gossiptrain.__version__}", tmp_path)
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(again) as second:
        assert first.namelist() == second.namelist()
