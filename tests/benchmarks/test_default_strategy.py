"""The comparison of a rule with plain averaging, cell by cell."""

from __future__ import annotations

import math

import pytest
from benchmarks.default_strategy import Cell, main, show


def cell(*, average: tuple[float, ...], other: tuple[float, ...], rounds: int = 5) -> Cell:
    return Cell("digits", rounds, 0.1, average, other)


def test_seeds_are_compared_one_by_one() -> None:
    found = cell(average=(1.0, 2.0), other=(0.5, 2.0))
    assert found.ratios == (0.5, 1.0)
    assert found.ratio == 0.75


def test_the_rule_holds_where_no_cell_is_worse_and_the_mean_is_better(capsys: pytest.CaptureFixture[str]) -> None:
    show(
        [cell(average=(1.0, 1.0), other=(0.9, 0.9)), cell(average=(1.0, 1.0), other=(1.0, 1.01), rounds=20)], "gradual"
    )
    said = capsys.readouterr().out
    assert "worst: 1.005, digits with 20 rounds at 0.1" in said
    assert "mean of 2 cells: 0.952" in said
    assert "the rule holds" in said


@pytest.mark.parametrize(
    ("bad", "better"),
    [
        pytest.param((1.02, 1.02), (0.5, 0.5), id="one cell is worse"),
        pytest.param((0.99, 0.99), (1.0, 1.0), id="too little is gained"),
        pytest.param((math.nan, 0.5), (0.5, 0.5), id="it diverges where averaging does not"),
    ],
)
def test_the_rule_does_not_hold(
    bad: tuple[float, ...], better: tuple[float, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    show([cell(average=(1.0, 1.0), other=bad), cell(average=(1.0, 1.0), other=better, rounds=20)], "gradual")
    assert "the rule does not hold" in capsys.readouterr().out


def test_where_averaging_diverges_there_is_nothing_to_compare(capsys: pytest.CaptureFixture[str]) -> None:
    show([cell(average=(math.nan, 1.0), other=(1.0, 1.0))], "gradual")
    said = capsys.readouterr().out
    assert "diverges" in said
    assert "the rule" not in said


def test_a_small_grid_is_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(
        "sys.argv", ["default_strategy", "digits", "--rounds", "2", "3", "--multiples", "1", "--seeds", "2"]
    )
    main()
    said = capsys.readouterr().out
    assert "digits, 2 rounds" in said
    assert "digits, 3 rounds" in said
    assert "mean of 2 cells" in said
