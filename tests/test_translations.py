"""The Spanish documents say what the English ones say: the same commands, programs, headings, tables and links."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAIRS = {
    "README.md": "README.es.md",
    **{f"docs/tutorials/{path.name}": f"docs/es/tutorials/{path.name}" for path in ROOT.glob("docs/tutorials/*.md")},
}


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str) -> list[tuple[str, str]]:
    """Language and content of each code block; the comments of commands are translated, and left out here."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text_of(document), re.MULTILINE | re.DOTALL)
    return [(language, re.sub(r"  # .*", "", body) if language == "sh" else body) for language, body in found]


def prose(document: str) -> str:
    return re.sub(r"^```.*?^```$", "", text_of(document), flags=re.MULTILINE | re.DOTALL)


def links(document: str) -> list[str]:
    """Where links lead, in the English documents where there is one; those that lead to the other language left out."""
    english = {spanish: each for each, spanish in PAIRS.items()}
    found = []
    for link in re.findall(r"\]\(([^):#]+)", text_of(document)):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(document), link))
        if PAIRS.get(document, english.get(document)) != target:
            found.append(english.get(target, target))
    return sorted(found)


def test_all_tutorials_are_translated() -> None:
    assert {spanish for spanish in PAIRS.values() if not (ROOT / spanish).is_file()} == set()
    translated = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "es").rglob("*.md")}
    assert translated <= set(PAIRS.values())


@pytest.mark.parametrize(("english", "spanish"), PAIRS.items())
def test_commands_and_programs_are_the_same(english: str, spanish: str) -> None:
    assert blocks(spanish) == blocks(english)


@pytest.mark.parametrize(("english", "spanish"), PAIRS.items())
def test_nothing_is_left_out(english: str, spanish: str) -> None:
    headings, of_translation = (re.findall(r"^#+ ", prose(each), re.MULTILINE) for each in (english, spanish))
    assert of_translation == headings
    rows, translated = (len(re.findall(r"^\|", prose(each), re.MULTILINE)) for each in (english, spanish))
    assert rows == translated, "rows of tables"
    assert links(spanish) == links(english)


@pytest.mark.parametrize(("english", "spanish"), PAIRS.items())
def test_flags_and_places_are_the_same(english: str, spanish: str) -> None:
    """What stands between backticks and is typed, apart from its order and how often it is said."""

    def typed(document: str) -> set[str]:
        return {
            span for span in re.findall(r"`([^`\n]+)`", prose(document)) if re.match(r"--|gossip |make |docs/", span)
        }

    assert typed(spanish) == typed(english)
