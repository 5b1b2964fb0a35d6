"""`python -m tests.planted [--only NAME] [--list] [--all-tests]`: shows that tests catch the mistakes of the past.

Works on a copy of the tree in a temporary folder. There the guards must pass as things are, and fail where the mistake
is planted. Exits with 1 where a mistake is not caught, or does not fit any more.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.planted import Mistake, PlantError, all_mistakes

ROOT = Path(__file__).parents[2]
COPIED = ("src", "tests", "docs", "examples", "benchmarks", "*.md", "*.toml", "*.txt", "Makefile", "LICENSE")
ALL_TESTS = ("--ignore=tests/planted", "tests")
LONGEST_S = 3600.0
"""For one run of tests; each of them has a limit of its own in pyproject.toml."""
LIMIT = "--timeout=60"
"""Of one test: where a mistake makes it wait for ever it has failed."""
TESTS_FAILED = 1
"""Exit code of pytest."""


@dataclass(frozen=True)
class Tested:
    """How a run of pytest ended. failed: names of tests, without their parameters."""

    exit_code: int
    failed: tuple[str, ...]
    output: str


@dataclass(frozen=True)
class Finding:
    """What became of a planted mistake. fault: empty where it was caught."""

    mistake: Mistake
    caught_by: tuple[str, ...]
    seconds: float
    fault: str = ""

    @property
    def row(self) -> str:
        """One line of the table."""
        caught = self.fault.partition("\n")[0] or self.caught_by[0]
        more = f" and {len(self.caught_by) - 1} more" if len(self.caught_by) > 1 else ""
        cells = (
            self.mistake.name,
            ", ".join(self.mistake.guards),
            caught.rpartition("::")[2] + more,
            f"{self.seconds:.0f}",
        )
        return f"| {' | '.join(cells)} |"


class Tree:
    """A copy of the repository in which mistakes are planted one at a time."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        for path in (path for pattern in COPIED for path in ROOT.glob(pattern)):
            if path.is_dir():
                shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(path, folder)

    def test(self, tests: Sequence[str]) -> Tested:
        """Runs pytest on the copy."""
        options = (
            "-m",
            "not real",
            "-q",
            "-rfE",
            "--tb=no",
            "--color=no",
            "-p",
            "no:cacheprovider",
            "--hypothesis-seed=0",
            LIMIT,
        )
        # A file that changes twice within a second would be taken from an old .pyc.
        environment = {**os.environ, "PYTHONPATH": str(self.root / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "pytest", *options, *tests]
        try:
            ended = subprocess.run(
                command, cwd=self.root, env=environment, capture_output=True, text=True, timeout=LONGEST_S, check=False
            )
        except subprocess.TimeoutExpired:
            return Tested(-1, (), f"The tests did not end within {LONGEST_S:g} s.")
        failed = re.findall(r"^FAILED ([^\s\[]+)", ended.stdout, re.MULTILINE)
        return Tested(ended.returncode, tuple(dict.fromkeys(failed)), ended.stdout + ended.stderr)

    def try_out(self, mistake: Mistake, *, all_tests: bool) -> Finding:
        """Plants a mistake, runs the tests, and takes it out again."""
        began_s = time.monotonic()
        try:
            planted = mistake.planted(self.root)
        except PlantError as error:
            return Finding(mistake, (), 0.0, str(error))
        originals = {file: file.read_bytes() for file in planted}
        try:
            for file, text in planted.items():
                file.write_text(text, encoding="utf-8")
            tested = self.test(ALL_TESTS if all_tests else mistake.guards)
        finally:
            for file, original in originals.items():
                file.write_bytes(original)
        return Finding(mistake, tested.failed, time.monotonic() - began_s, _fault(mistake, tested, all_tests=all_tests))


def _fault(mistake: Mistake, tested: Tested, *, all_tests: bool) -> str:
    if tested.exit_code not in (0, TESTS_FAILED):
        return f"The tests could not be run with the mistake {mistake.name}.\n{tested.output}"
    missed = () if all_tests else tuple(guard for guard in mistake.guards if guard not in tested.failed)
    if not tested.failed or missed:
        named = ", ".join(missed) or "the fast tests"
        return (
            f"NOT CAUGHT: {mistake.name}\nIt was made again, and {named} did not fail. {mistake.story}\n"
            "Write the test that fails, and name it as the guard."
        )
    return ""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.planted", description="Shows which tests catch which mistakes."
    )
    parser.add_argument("--only", metavar="NAME", action="append", help="this mistake; may be given several times")
    parser.add_argument("--list", action="store_true", help="names the mistakes with what each did")
    parser.add_argument("--all-tests", action="store_true", help="runs all fast tests, not only the named guards")
    given = parser.parse_args()
    mistakes = all_mistakes()
    if unknown := set(given.only or ()) - {mistake.name for mistake in mistakes}:
        parser.error(f"no mistake has the name {', '.join(sorted(unknown))}; --list names them")
    chosen = [mistake for mistake in mistakes if not given.only or mistake.name in given.only]
    if given.list:
        for mistake in chosen:
            _say(f"{mistake.name}: {mistake.story}")
        return
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        sys.exit(0 if _are_all_caught(Tree(Path(folder)), chosen, all_tests=given.all_tests) else 1)


def _are_all_caught(tree: Tree, mistakes: Sequence[Mistake], *, all_tests: bool) -> bool:
    began_s = time.monotonic()
    guards = list(dict.fromkeys(guard for mistake in mistakes for guard in mistake.guards))
    unchanged = tree.test(ALL_TESTS if all_tests else guards)
    if unchanged.exit_code:
        _say(f"Nothing is planted yet, and the tests do not pass. Mend that first.\n{unchanged.output}")
        return False
    _say("| mistake | guard | caught by | s |\n|---|---|---|---|")
    findings = []
    for mistake in mistakes:
        findings.append(tree.try_out(mistake, all_tests=all_tests))
        _say(findings[-1].row)
    faults = [finding.fault for finding in findings if finding.fault]
    for fault in faults:
        _say(f"\n{fault}")
    caught = len(findings) - len(faults)
    _say(f"\n{caught} of {len(findings)} mistakes caught in {(time.monotonic() - began_s) / 60:.1f} minutes.")
    return not faults


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
