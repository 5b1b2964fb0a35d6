"""The website: every document is one of its pages, and where MkDocs is installed it is built with all links checked."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import gossiptrain

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
OF_THE_ROOT = {"GOSSIP_ALGORITHM.md", "CONTRIBUTING.md", "CHANGELOG.md"}
NO_PROXY_ANSWERS = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")


def settings() -> dict[str, Any]:
    found = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def pages(entry: Any) -> Iterator[str]:
    """The files that a part of the navigation names, in its order."""
    if isinstance(entry, str):
        yield entry
        return
    for inner in entry.values() if isinstance(entry, dict) else entry:
        yield from pages(inner)


def test_every_document_is_a_page_and_every_page_a_document() -> None:
    named = list(pages(settings()["nav"]))
    assert len(named) == len(set(named))
    assert {page for page in named if "/" not in page and (ROOT / page).is_file()} == OF_THE_ROOT
    assert set(named) - OF_THE_ROOT == {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}


def test_every_public_name_is_on_the_page_of_the_api() -> None:
    shown = re.findall(r"^::: ([\w.]+)$", (DOCS / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    for name in shown:
        module, _, last = name.rpartition(".")
        assert importlib.util.find_spec(name if name == "gossiptrain.errors" else module), name
        assert last
    public = {name for name in gossiptrain.__all__ if name[0].isalpha()} - {"GossipError", "errors", "events"}
    assert public <= {name.rpartition(".")[2] for name in shown}, "events have a page of their own"
    assert "gossiptrain.errors" in shown


def test_it_is_built_strictly_and_reads_nothing_from_elsewhere(tmp_path: Path) -> None:
    for needed in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(needed, reason="installed by the extra docs")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, **NO_PROXY_ANSWERS, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    for page in pages(settings()["nav"]):
        html = (tmp_path / "site" / page).with_suffix(".html").read_text(encoding="utf-8")
        fetched = re.findall(r"<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=\"([^\"]+)\"", html)
        assert fetched, page
        assert [place for place in fetched if re.match(r"(https?:)?//", place)] == [], page
    api = (tmp_path / "site" / "api.html").read_text(encoding="utf-8")
    assert 'id="gossiptrain.training.gossip.gossip"' in api
    assert "Most peers that average together in one round." in api, "settings come with their documentation"
