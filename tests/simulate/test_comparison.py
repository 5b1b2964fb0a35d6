"""Runs beside each other, as figures and as a picture."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gossiptrain.errors import UsageError
from gossiptrain.simulate.comparison import by_strategy, comparison_as_json, lines_of
from gossiptrain.simulate.learn_settings import LearnSettings
from gossiptrain.simulate.picture import draw
from gossiptrain.simulate.picture_file import check_picture
from gossiptrain.simulate.resolving import Resolved
from gossiptrain.simulate.results import LearnResult, Record, Score


def result(strategy: Any, *, seed: int = 0, loss: float = 0.5, sent: float = 1e6) -> LearnResult:
    """A made-up run of three rounds."""
    settings = LearnSettings(task="digits", strategy=strategy, seed=seed)
    records = tuple(
        Record(
            step=100 * number,
            training_loss=loss * 2,
            disagreement=0.1 / number,
            bytes_per_peer=sent * number,
            merged=Score(loss * 3 / number, 0.9),
        )
        for number in (1, 2, 3)
    )
    return LearnResult(
        resolved=Resolved(settings, batch=8, learning_rate=0.1, every_steps=100, evaluate_every=100, device="cpu"),
        parameters=1000,
        samples=(10, 10),
        records=records,
        merged=Score(loss, 0.9),
        peers=(Score(loss + 0.1, 0.8), Score(loss + 0.3, 0.7)),
        disagreement=0.05,
        refused=0,
        rounds=3,
        bytes_per_peer=3 * sent,
        inner_steps=600,
        training_seconds=1.0,
        seconds=2.0,
    )


RUNS = [
    result("step-mix", seed=0, loss=0.5),
    result("step-mix", seed=1, loss=0.7),
    result("alone", loss=2.0, sent=0.0),
    result("sync", loss=0.4, sent=1e8),
]


def test_runs_are_gathered_by_strategy_in_their_order() -> None:
    assert [(name, len(own)) for name, own in by_strategy(RUNS).items()] == [("step-mix", 2), ("alone", 1), ("sync", 1)]


def test_a_line_has_mean_and_spread_over_the_seeds() -> None:
    line = lines_of(RUNS)[0]
    assert (line.strategy, line.seeds) == ("step-mix", 2)
    assert line.merged_loss.mean == pytest.approx(0.6)
    assert line.merged_loss.deviation == pytest.approx(math.sqrt(0.02))
    assert line.mean_peer_loss.mean == pytest.approx(0.8)
    assert line.worst_peer_loss.mean == pytest.approx(0.9)
    assert line.worst_peer_accuracy.mean == pytest.approx(0.7)


def test_one_seed_has_no_spread() -> None:
    assert lines_of(RUNS)[1].merged_loss.deviation == 0


def test_a_seed_that_diverged_is_not_averaged_away() -> None:
    broken = replace(RUNS[1], merged=Score(math.nan, 0.1))
    content = comparison_as_json([RUNS[0], broken])
    assert content["lines"][0]["merged_loss"] is None
    assert content["runs"][1]["diverged"] is True
    json.dumps(content, allow_nan=False)


def test_the_worst_of_peers_is_one_without_a_number() -> None:
    broken = replace(RUNS[0], peers=(Score(0.3, 0.9), Score(math.nan, 0.1), Score(9.0, 0.2)))
    assert math.isnan(broken.worst_peer.loss)


def test_a_picture_has_something_of_every_strategy(tmp_path: Path) -> None:
    path = tmp_path / "curves.svg"
    draw(RUNS, path)
    text = path.read_text()
    for word in ("step-mix", "alone", "sync", "digits, 8 peers", "disagreement", "inner steps", "sent by a peer"):
        assert word in text


def test_a_picture_may_be_made_of_pixels(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    draw(RUNS, path)
    with Image.open(path) as image:
        assert image.width > 1000
        assert len(image.convert("RGB").getcolors(1 << 24) or []) > 10


def test_strategies_without_disagreement_are_named(tmp_path: Path) -> None:
    agreeing = replace(RUNS[3], records=tuple(replace(record, disagreement=0.0) for record in RUNS[3].records))
    draw([RUNS[0], agreeing], tmp_path / "curves.svg")
    assert "no disagreement: sync" in (tmp_path / "curves.svg").read_text()


def test_runs_that_never_evaluated_can_be_drawn(tmp_path: Path) -> None:
    silent = replace(RUNS[0], records=tuple(replace(record, merged=None) for record in RUNS[0].records))
    draw([silent], tmp_path / "curves.svg")


def test_pictures_that_cannot_be_drawn_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"written as \.png, \.svg, \.pdf, not as curves\.bmp"):
        check_picture(tmp_path / "curves.bmp")
    with pytest.raises(UsageError, match="there is no folder"):
        check_picture(tmp_path / "nowhere" / "curves.png")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match="matplotlib, which is not installed"):
        check_picture(tmp_path / "curves.png")
