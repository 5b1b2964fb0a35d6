"""`gossip simulate learn` as people use it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from gossiptrain.cli.simulate_view import RunsView, show_comparison
from gossiptrain.simulate.comparison import lines_of
from gossiptrain.simulate.results import Record, Score
from tests.processes import Command
from tests.simulate.test_comparison import RUNS

SHORT = ("--peers", "4", "--steps", "40", "--every-steps", "10", "--batch", "8", "--group-size", "2", "--device", "cpu")


def test_strategies_are_compared_in_a_table(gossip: Command) -> None:
    ended = gossip("simulate", "learn", "digits", *SHORT, "--strategy", "step-mix", "--strategy", "alone")
    assert ended.code == 0, ended.err
    for word in ("merged", "worst", "sent per", "step-mix", "alone", "step-mix: merged loss"):
        assert word in ended.out
    assert "…" not in ended.out


def test_everything_is_in_the_report(gossip: Command) -> None:
    flags = ("--strategy", "average", "--seeds", "2", "--codec", "fp16", "--non-iid", "0.5", "--report", "found.json")
    ended = gossip("simulate", "learn", "digits", *SHORT, *flags)
    assert ended.code == 0, ended.err
    found = json.loads(Path("found.json").read_text())
    (line,) = found["lines"]
    assert (line["strategy"], line["seeds"]) == ("average", 2)
    assert {"mean", "deviation"} == set(line["merged_loss"])
    assert [run["settings"]["seed"] for run in found["runs"]] == [0, 1]
    run = found["runs"][0]
    assert run["settings"]["batch"] == 8
    assert run["settings"]["learning_rate"] == pytest.approx(0.0125)
    assert [record["step"] for record in run["records"]] == [10, 20, 30, 40]
    assert {"training_loss", "disagreement", "bytes_per_peer", "contraction", "expected_contraction", "merged"} < set(
        run["records"][0]
    )
    assert {"merged", "mean_peer", "worst_peer", "peers", "disagreement", "bytes_per_peer", "seconds"} < set(run)
    assert len(run["peers"]) == len(run["samples"]) == 4
    assert "seed 1" in ended.out


def test_a_picture_is_drawn(gossip: Command) -> None:
    ended = gossip("simulate", "learn", "digits", *SHORT, "--picture", "curves.svg", "--json", "found.json")
    assert ended.code == 0, ended.err
    assert Path("curves.svg").read_text().startswith("<?xml")
    assert Path("found.json").is_file()


def test_in_a_comparison_each_strategy_takes_the_flags_that_are_about_it(gossip: Command) -> None:
    strategies = ("--strategy", "sync", "--strategy", "step-mix", "--strategy", "central")
    flags = ("--outer-momentum", "0.5", "--delay", "2", "--speeds", "2", "--report", "found.json")
    ended = gossip("simulate", "learn", "digits", *SHORT, *strategies, *flags)
    assert ended.code == 0, ended.err
    settings = [run["settings"] for run in json.loads(Path("found.json").read_text())["runs"]]
    assert [own["outer_momentum"] for own in settings] == [None, 0.5, None]
    assert [own["delay"] for own in settings] == [0, 2, 0]
    assert [own["speeds"] for own in settings] == [2, 2, 1]


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--strategy", "magic"), "strategy"),
        (("--peers", "1"), "peers"),
        (("--strategy", "average", "--outer-lr", "0.7"), "average has no outer step"),
        (("--strategy", "noloco", "--outer-momentum", "0.9", "--outer-lr", "1.0"), "drift apart"),
        (("--every-steps", "50"), "The first round would be after 50 steps"),
        (("--picture", "curves.bmp"), "A picture is written as"),
        (("--report", "nowhere/found.json"), "there is no folder"),
        (("--device", "abacus"), "abacus"),
    ],
)
def test_nonsense_is_refused_with_a_reason(gossip: Command, flags: tuple[str, ...], complaint: str) -> None:
    ended = gossip("simulate", "learn", "digits", *SHORT, *flags)
    assert ended.code == 2
    assert complaint in ended.err
    assert not ended.out


def test_tasks_that_do_not_fit_are_refused(gossip: Command) -> None:
    assert "There is no task 'numbers'" in gossip("simulate", "learn", "numbers").err


def test_help_comes_with_examples(gossip: Command) -> None:
    ended = gossip("simulate", "learn", "--help")
    assert ended.code == 0
    assert "Examples" in ended.out


# How it looks while it goes on.


def record(step: int) -> Record:
    return Record(step, training_loss=0.5, disagreement=0.01, bytes_per_peer=1e6, merged=Score(0.25, 0.9))


def test_in_a_pipe_there_is_a_line_every_few_seconds() -> None:
    now_s = 0.0
    stream = io.StringIO()
    with RunsView(Console(file=stream, width=80), clock=lambda: now_s) as view:
        tell = view.begin("step-mix", steps=100)
        for step in range(1, 11):
            now_s += 1.0
            tell(record(step))
        view.end(RUNS[0])
    lines = stream.getvalue().splitlines()
    assert lines[:3] == [f"step-mix: step {step}  loss 0.5000  disagreement 1.0 %  merged 0.2500" for step in (3, 6, 9)]
    assert lines[3] == "step-mix: merged loss 0.5000, accuracy 90.0 %, 3.0 MB sent per peer, 2.0 s"


def test_in_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = io.StringIO()
    with RunsView(Console(file=stream, width=120, force_terminal=True)) as view:
        view.begin("step-mix", steps=100)(record(50))
        assert view._progress is not None
        view._progress.refresh()
        view.end(RUNS[0])
    assert "50/100" in stream.getvalue()
    assert "disagreement 1.0 %" in stream.getvalue()


def test_the_table_fits_in_eighty_columns_and_tells_of_the_spread() -> None:
    stream = io.StringIO()
    show_comparison(Console(file=stream, width=80), lines_of(RUNS))
    assert "…" not in stream.getvalue()
    assert "0.600 ± 0.14" in stream.getvalue()
    assert "Means over 2 seeds" in stream.getvalue()
