"""The tables of the papers come back, in a small run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmarks.papers import contraction_laws, diloco_scaling, finite_time_consensus, grouping_choice, unlike_data
from benchmarks.papers.base_graph import base_graph
from benchmarks.papers.contraction_laws import Swarm
from benchmarks.papers.mixing import Meetings, variance_left
from benchmarks.papers.moshpit_averaging import GROUPINGS, OF_THE_PAPER, PUBLISHED, Setting, mean_rounds
from benchmarks.papers.moshpit_methods import Draws, MakeMethod, own_grouping, push_sum
from benchmarks.papers.tables import Figure, beside, show_figures
from benchmarks.strategies import Bench
from hypothesis import given, settings
from hypothesis import strategies as st

from gossiptrain.core.stability import StepMixMoments, noloco_radius
from gossiptrain.simulate.learn import run
from gossiptrain.simulate.learn_settings import LearnSettings
from gossiptrain.simulate.results import LearnResult

REPOSITORY = Path(__file__).parents[2]


# Moshpit averaging.


@pytest.mark.parametrize(("peers", "failure"), [(512, 0.01), (768, 0.0), (900, 0.005)])
@pytest.mark.parametrize("method", ["all-reduce", "ring gossip", "SGP", "random groups"])
def test_the_papers_own_methods_come_back_to_the_digit(peers: int, failure: float, method: str) -> None:
    setting = Setting(peers, failure)
    found = mean_rounds(OF_THE_PAPER[method], setting)
    assert round(found, 1) == PUBLISHED[peers, failure][list(OF_THE_PAPER).index(method)][0]


def test_its_grid_drawn_without_a_seed_comes_back_on_average() -> None:
    for (peers, failure), row in PUBLISHED.items():
        if failure in (0.0, 0.01):
            assert mean_rounds(OF_THE_PAPER["Moshpit"], Setting(peers, failure)) == pytest.approx(row[4][0], abs=0.5)


def test_the_packages_groups_are_exact_where_theory_says() -> None:
    assert mean_rounds(GROUPINGS["grid"], Setting(512, 0.0, runs=2)) == 2
    assert mean_rounds(GROUPINGS["exponential"], Setting(512, 0.0, runs=2)) == 9
    assert mean_rounds(push_sum, Setting(512, 0.0, runs=2)) == 9


@pytest.mark.parametrize("failure", [0.001, 0.01])
def test_the_packages_grid_needs_no_more_rounds_than_the_papers(failure: float) -> None:
    found = mean_rounds(GROUPINGS["auto"], Setting(768, failure, runs=4))
    assert found <= PUBLISHED[768, failure][4][0]


@pytest.mark.parametrize("method", [*OF_THE_PAPER.values(), own_grouping("random", 4), push_sum])
def test_a_round_without_failures_keeps_the_mean(method: MakeMethod) -> None:
    generator = np.random.RandomState(0)
    values = generator.normal(size=64)
    one_round = method(64, Draws(0, generator))
    assert one_round(values, np.ones(64, dtype=bool), 1).mean() == pytest.approx(values.mean(), abs=0.05)


# Laws.


@pytest.mark.parametrize("swarm", [Swarm(16, 4), Swarm(13, 4), Swarm(64, 8, 0.1), Swarm(12, 2, 0.3)])
def test_a_round_leaves_what_the_law_says_within_five_percent(swarm: Swarm) -> None:
    assert contraction_laws.contraction(swarm, samples=1500) == pytest.approx(swarm.contraction, rel=0.05)


def test_disagreement_under_momentum_is_as_the_formulas_say_within_five_percent() -> None:
    pairs = Swarm(16, 2)
    factor = contraction_laws.noloco_factor(pairs, 0.9, 0.7, samples=1000)
    assert factor == pytest.approx(noloco_radius(0.9, 0.7, pairs.contraction), rel=0.05)
    for agreement in (0.0, 0.12):
        rule = StepMixMoments(1.33, 0.567, 0.9, agreement)
        left = contraction_laws.settled(pairs, rule, samples=1000)
        assert left == pytest.approx(rule.steady(pairs.contraction)[0], rel=0.05)


def test_the_law_counts_absent_peers_as_groups_of_one() -> None:
    assert Swarm(16, 4).contraction == pytest.approx(3 / 15)
    assert Swarm(16, 4, 0.1).contraction > Swarm(16, 4).contraction
    assert Swarm(16, 4, 1.0).contraction == 1.0


def test_rounds_are_as_many_as_the_logarithms_say() -> None:
    assert contraction_laws.rounds_to(Swarm(16, 4), 1e-2, samples=200) == 3
    assert contraction_laws.rounds_to(Swarm(8, 8), 1e-6, samples=10) == 1


# Exact agreement.


@given(st.integers(2, 90), st.integers(1, 5))
@settings(deadline=None, max_examples=80)
def test_the_base_graph_is_exact_for_every_number_with_so_many_partners_and_in_time(peers: int, degree: int) -> None:
    rounds = base_graph(peers, degree)
    assert len(rounds) <= finite_time_consensus.longest_cycle(peers, degree + 1)
    product = np.eye(peers)
    for matrix in rounds:
        assert np.allclose(matrix, matrix.T)
        assert np.allclose(matrix.sum(axis=0), 1)
        assert matrix.min() >= -1e-12
        assert ((np.abs(matrix) > 1e-12) & ~np.eye(peers, dtype=bool)).sum(axis=0).max() <= degree
        product = matrix @ product
    assert variance_left(product) < 1e-24


@pytest.mark.parametrize("peers", [4, 5, 6, 12, 16, 25])
def test_every_promise_of_a_paper_is_kept(peers: int) -> None:
    for figure in finite_time_consensus.measure_rounds(peers):
        if figure.published is not None:
            assert figure.ours is not None
            assert figure.ours <= figure.published


@pytest.mark.parametrize("peers", [6, 10, 12, 20, 24, 48, 50])
def test_pairs_of_an_even_number_leave_as_much_as_the_one_peer_exponential_graph(peers: int) -> None:
    left = {figure.column: figure.ours for figure in finite_time_consensus.measure_left(peers)}
    assert left["pairs"] == pytest.approx(left["one-peer"], abs=1e-9)


# The choice of a grouping.


@pytest.mark.parametrize(("peers", "size"), [(16, 4), (16, 8), (8, 4), (13, 4)])
def test_crossed_groups_are_better_than_random_ones_and_no_worse_than_a_grid(peers: int, size: int) -> None:
    found = grouping_choice.measure(peers, size, rounds=60)
    assert found is not None
    assert found.crossed[0] < 0.95
    assert all(crossed < 1.02 for crossed in found.crossed)
    if found.schedule:
        assert found.crossed[0] < found.schedule[0] + 0.01


def test_there_is_nothing_to_choose_where_one_group_is_enough() -> None:
    assert grouping_choice.measure(8, 8, rounds=12) is None


# Tables and files.


def test_absent_peers_are_in_no_group() -> None:
    groups = Meetings("random", 4).groups([0, 2, 3, 5, 9, 11], 0)
    assert sorted(peer for group in groups for peer in group.tolist()) == [0, 2, 3, 5, 9, 11]


def test_a_table_shows_both_figures_and_their_difference(capsys: pytest.CaptureFixture[str]) -> None:
    figures: list[Figure] = [
        beside("512 peers", "SGP", published=47.6, ours=47.4),
        beside("512 peers", "ring", published=None, ours=None),
    ]
    show_figures("Rounds", figures)
    shown = capsys.readouterr().out
    assert all(part in shown for part in ("Rounds", "512 peers", "47.6", "47.4", "-0.2", "–", "never"))
    assert figures[0].difference == pytest.approx(-0.2)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("moshpit_averaging", ["--peers=64", "--runs=1"]),
        ("contraction_laws", ["--samples=20"]),
        ("finite_time_consensus", ["--peers=5,8"]),
        ("grouping_choice", ["--sizes=2,4", "--peers=16", "--rounds=12"]),
    ],
)
def test_every_script_prints_its_tables_and_writes_its_figures(name: str, arguments: list[str], tmp_path: Path) -> None:
    written = tmp_path / "out.json"
    command = [sys.executable, "-m", f"benchmarks.papers.{name}", *arguments, "--json", str(written)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "…" not in done.stdout.replace(", ...", "")
    content = json.loads(written.read_text())
    assert content["benchmark"] == name
    assert content["results"]


# DiLoCo by number of replicas.


def test_replicas_share_one_batch_and_are_told_beside_the_paper() -> None:
    asked: list[dict[str, object]] = []

    def runner(settings: LearnSettings) -> LearnResult:
        asked.append({"peers": settings.peers, "batch": settings.batch, "strategy": settings.strategy})
        return run(settings.model_copy(update={"task": "digits", "variant": {}}))

    bench = Bench({"task": "text", "steps": 60, "evaluate_every": 0}, 1, 0.05, (1.0,), runner)
    found = [line() for line in diloco_scaling.lines(bench, 16)]
    assert {(order["peers"], order["batch"]) for order in asked} == {(2, 8), (4, 4), (8, 2)}
    figures = {(figure.row, figure.column): figure for figure in diloco_scaling.figures_of(found)}
    eight = figures["M = 8", "% above, 35 M"]
    assert eight.published == 3.9
    assert eight.ours == pytest.approx(100 * (found[-2].losses[0] / found[0].losses[0] - 1))
    assert figures["M = 8, step-mix in groups of 4", "% above, 35 M"].published is None


# Peers whose data are of different kinds.


def test_the_worst_peer_is_told_beside_the_paper_for_each_kind_of_data() -> None:
    asked: list[LearnSettings] = []

    def runner(settings: LearnSettings) -> LearnResult:
        asked.append(settings)
        on_digits = {"task": "digits", "variant": {}, "learning_rate": 0.05, "non_iid": None}
        return run(settings.model_copy(update=on_digits))

    common = {"task": "cifar10", "variant": {"model": "tiny"}, "peers": 4, "steps": 4, "batch": 8, "evaluate_every": 0}
    figures = unlike_data.figures_of(runner, common, seeds=1, names=["central", "average"])
    assert {settings.non_iid for settings in asked if settings.strategy == "average"} == set(unlike_data.ALPHAS)
    assert {settings.non_iid for settings in asked if settings.strategy == "central"} == {None}
    assert [figure.published for figure in figures] == [90.2, 90.2, 90.2, 89.5, 89.2, 87.5]
    assert all(figure.ours is not None and 0 <= figure.ours <= 100 for figure in figures)
