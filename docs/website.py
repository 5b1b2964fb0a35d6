"""What MkDocs is told beside `mkdocs.yml`: the documents at the root of the repository are pages, too.

Owns which of them, and that links to them lead to the pages. Does not know how a page looks.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = ("GOSSIP_ALGORITHM.md", "CONTRIBUTING.md", "CHANGELOG.md")
_LINK = re.compile(r"\]\(([^)#:\s]+)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds them, at the root of the website."""
    for name in PAGES:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links that leave the folder `docs/` for one of them lead to its page, from wherever they are."""
    here = posixpath.dirname(page.file.src_uri)

    def led(found: re.Match[str]) -> str:
        in_repository = posixpath.normpath(posixpath.join("docs", here, found[1]))
        return f"]({posixpath.relpath(in_repository, here or '.')}" if in_repository in PAGES else found[0]

    return _LINK.sub(led, markdown)
