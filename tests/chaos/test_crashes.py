"""Crashes at random moments; `python -m benchmarks.crashes` has more of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from benchmarks.crashes.rounds import kill_in_rounds

from tests.processes import Family

ROOT = Path(__file__).parents[2]


def test_after_crashes_while_saving_a_whole_checkpoint_is_there_and_nothing_piles_up(family: Family) -> None:
    # In a process of its own: it forks, and this one has threads.
    saving = family.start("saving", "--crashes", "50", program=[sys.executable, "-m", "benchmarks.crashes"], cwd=ROOT)
    assert saving.wait() == 0, saving.out


@pytest.mark.timeout(400)
def test_after_kills_in_the_middle_of_rounds_parameters_are_those_before_or_after_one(tmp_path: Path) -> None:
    found = kill_in_rounds(tmp_path, kills=2)
    assert not found.wrong
    assert found.shared > 0
