"""The table of attacks is made of what the runs found."""

from __future__ import annotations

import argparse
import math
from typing import Any

from benchmarks.attacks import ATTACKS, COLUMNS, Cell, Found, cells_of, run_cell, table

OPTIONS = argparse.Namespace(
    group_sizes="4", seeds=2, peers=4, attackers=1, steps=20, every_steps=10, strategy="average"
)


def test_each_attack_meets_each_aggregator_with_every_seed() -> None:
    cells = cells_of(OPTIONS)
    assert len(cells) == len(set(cells)) == 2 * (len(ATTACKS) * len(COLUMNS) + 1)


def test_losses_are_relative_to_the_clean_run_of_the_same_seed() -> None:
    found = {cell: Found(2.0 * (1 + cell.seed), 0.0) for cell in cells_of(OPTIONS)}
    for cell in found:
        if (cell.attack, cell.column) == ("drift", "clip"):
            found[cell] = Found(3.0 * (1 + cell.seed), 0.25)
        if (cell.attack, cell.column) == ("nan", "off"):
            found[cell] = Found(math.nan, 0.0)
    rows = table(found, 4)
    assert rows[0] == "groups of 4; alone 1.00"
    assert "1.50 (25%)" in next(row for row in rows if row.startswith("| drift"))
    assert "not a number" in next(row for row in rows if row.startswith("| nan"))


def test_a_cell_is_one_run_of_the_laboratory() -> None:
    given: dict[str, Any] = {"peers": 4, "attackers": 1, "steps": 20, "every_steps": 10, "strategy": "gradual"}
    found = run_cell(Cell("scale", "clip*", 4, 0, **given))
    assert math.isfinite(found.loss)
    assert 0 <= found.refused <= 1
