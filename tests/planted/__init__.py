"""Mistakes of the past, kept so that each can be put back into today's code and seen to be caught by a test.

Owns the form of a mistake and how it is planted. Each file of `mistakes/` is a unified diff without line numbers. Above
the diff stands what the mistake was and what it did to users, and a line `Guard: FILE::TEST` for each test that fails
where it is made again. The lines of a hunk must stand in their file exactly once, so a change elsewhere in the file
does no harm and a change of these very lines is noticed. Does not know how tests are run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MISTAKES = Path(__file__).with_name("mistakes")
GUARD = "Guard: "


class PlantError(Exception):
    """A mistake cannot be planted: its file is not written as it should be, or the code has changed."""


@dataclass(frozen=True)
class Hunk:
    """One place where a mistake is made. path: of the file, relative to the root of the repository."""

    path: str
    before: str
    after: str


@dataclass(frozen=True)
class Mistake:
    """One file of `mistakes/`. guards: as pytest names tests."""

    name: str
    story: str
    guards: tuple[str, ...]
    hunks: tuple[Hunk, ...]

    def planted(self, root: Path) -> dict[Path, str]:
        """The changed files of the tree at `root` with their new text; writes nothing. Raises PlantError."""
        texts: dict[Path, str] = {}
        for hunk in self.hunks:
            file = root / hunk.path
            if file not in texts and not file.is_file():
                raise self._does_not_fit(hunk, "the file is not there")
            text = texts.get(file) or file.read_text(encoding="utf-8")
            if (found := text.count(hunk.before)) != 1:
                raise self._does_not_fit(hunk, f"these lines stand there {found} times, not once:\n{hunk.before}")
            texts[file] = text.replace(hunk.before, hunk.after)
        return texts

    def _does_not_fit(self, hunk: Hunk, fault: str) -> PlantError:
        return PlantError(
            f"The mistake {self.name} does not fit {hunk.path} any more: {fault.rstrip()}\n"
            "The code that keeps it from being made has changed. Find where it is kept from being made now and write "
            f"tests/planted/mistakes/{self.name}.patch anew. Delete that file, and its row in docs/reliability.md, "
            "only where nobody can make this mistake any more."
        )


def all_mistakes() -> list[Mistake]:
    """By name. Raises PlantError where a file is not written as it should be."""
    return [parse(file.stem, file.read_text(encoding="utf-8")) for file in sorted(MISTAKES.glob("*.patch"))]


def parse(name: str, text: str) -> Mistake:
    """The mistake in the text of a file. Raises PlantError."""
    head, _, diff = text.partition("\n--- a/")
    lines = head.splitlines()
    guards = tuple(line.removeprefix(GUARD).strip() for line in lines if line.startswith(GUARD))
    story = " ".join(line.strip() for line in lines if line.strip() and not line.startswith(GUARD))
    hunks = tuple(hunk for part in diff.split("\n--- a/") for hunk in _hunks(part))
    if not story or not guards or not hunks:
        raise PlantError(
            f"The mistake {name} lacks its story, its guards or its diff. Above the first line that begins with "
            f"'--- a/' stand two or three sentences and at least one line '{GUARD}tests/FILE.py::TEST'."
        )
    if faulty := [hunk.path for hunk in hunks if not hunk.before or hunk.before == hunk.after]:
        raise PlantError(f"The mistake {name} changes nothing in {', '.join(faulty)}, or names no lines to be changed.")
    return Mistake(name, story, guards, hunks)


def _hunks(part: str) -> list[Hunk]:
    """Those of one file; `part` begins with its path. An empty line is an empty line of context."""
    path, _, rest = part.partition("\n")
    blocks = rest.split("\n@@")[1:]
    return [Hunk(path.strip(), _lines(block, " -"), _lines(block, " +")) for block in blocks]


def _lines(block: str, marks: str) -> str:
    """The lines of a hunk that begin with one of `marks`, without it."""
    chosen = [line or " " for line in block.rstrip("\n").split("\n")[1:]]
    return "".join(f"{line[1:]}\n" for line in chosen if line[0] in marks)
