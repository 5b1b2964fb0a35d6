"""Each mistake of the past can still be planted, and the tests that catch it are there.

That they do catch it takes minutes: `make planted`.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from tests.conftest import names_of_processes
from tests.planted import Hunk, Mistake, PlantError, all_mistakes, parse
from tests.test_documents import table

ROOT = Path(__file__).parents[2]
MISTAKES = all_mistakes()
TEXT = """It was so. Users lost
their work.

Guard: tests/test_a.py::test_b
Guard: tests/test_a.py::test_c

--- a/src/one.py
+++ b/src/one.py
@@
 kept
-right

+wrong
@@
-gone
--- a/src/two.py
+++ b/src/two.py
@@
-old
+new
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "one.py").write_text("before\nkept\nright\n\nafter\ngone\n", encoding="utf-8")
    (tmp_path / "src" / "two.py").write_text("old\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_fits_the_code_as_it_is(mistake: Mistake) -> None:
    for file, text in mistake.planted(ROOT).items():
        compile(text, file.name, "exec")
        assert file.is_relative_to(ROOT / "src"), "tests stay as they are"


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_the_guards_of_a_mistake_are_there(mistake: Mistake) -> None:
    for guard in mistake.guards:
        file, _, test = guard.partition("::")
        source = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {test}\(", source, re.MULTILINE), guard


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_the_guards_of_a_mistake_start_no_processes(mistake: Mistake) -> None:
    for guard in mistake.guards:
        file = guard.partition("::")[0]
        module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
        assert not names_of_processes(module), f"{guard} is left out of the fast tests"


def test_the_table_of_mistakes_is_complete() -> None:
    rows = {row[0].strip("`"): row[2] for row in table("docs/reliability.md", "mistake |")}
    assert rows.keys() == {mistake.name for mistake in MISTAKES}
    for mistake in MISTAKES:
        assert re.findall(r"`([^`]+)`", rows[mistake.name]) == [
            guard.removeprefix("tests/") for guard in mistake.guards
        ]


def test_a_mistake_is_read_with_its_story_its_guards_and_its_places() -> None:
    assert parse("it", TEXT) == Mistake(
        "it",
        "It was so. Users lost their work.",
        ("tests/test_a.py::test_b", "tests/test_a.py::test_c"),
        (
            Hunk("src/one.py", "kept\nright\n\n", "kept\n\nwrong\n"),
            Hunk("src/one.py", "gone\n", ""),
            Hunk("src/two.py", "old\n", "new\n"),
        ),
    )


def test_planting_changes_nothing_but_the_places_and_writes_nothing(tree: Path) -> None:
    one, two = tree / "src" / "one.py", tree / "src" / "two.py"
    planted = parse("it", TEXT).planted(tree)
    assert planted == {one: "before\nkept\n\nwrong\nafter\n", two: "new\n"}
    assert two.read_text(encoding="utf-8") == "old\n"


@pytest.mark.parametrize("text", ["", "old\nold\n"], ids=["lines that are gone", "lines that stand there twice"])
def test_a_mistake_that_does_not_fit_any_more_says_which_and_what_to_do(tree: Path, text: str) -> None:
    (tree / "src" / "two.py").write_text(text or "other\n", encoding="utf-8")
    with pytest.raises(PlantError, match=r"mistake it does not fit src/two\.py") as caught:
        parse("it", TEXT).planted(tree)
    assert "tests/planted/mistakes/it.patch anew" in str(caught.value)


def test_a_mistake_in_a_file_that_is_gone_says_so(tree: Path) -> None:
    (tree / "src" / "one.py").unlink()
    with pytest.raises(PlantError, match="the file is not there"):
        parse("it", TEXT).planted(tree)


@pytest.mark.parametrize(
    "text",
    [
        TEXT.partition("\n\n")[2],
        re.sub(r"Guard.*\n", "", TEXT),
        TEXT.partition("\n--- a/")[0],
        TEXT.replace("+new", "+old"),
        TEXT.replace("-old\n", ""),
    ],
    ids=["no story", "no guard", "no diff", "no change", "nowhere"],
)
def test_what_is_no_mistake_is_refused_by_name(text: str) -> None:
    with pytest.raises(PlantError, match="The mistake it "):
        parse("it", text)
