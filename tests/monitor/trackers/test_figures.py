"""Events become figures, by names that are the same for all trackers."""

from __future__ import annotations

import math

from gossiptrain.events import RoundFailed
from gossiptrain.monitor.trackers.figures import TOTALS, Figures
from tests.monitor.stream import OTHER, OWN, evaluated, peer, round_of, started, step


def test_steps_evaluations_and_rounds_are_figures_at_the_step_at_which_they_came() -> None:
    figures = Figures()
    assert figures.take(started()) == {"swarm/peers": 1}
    assert figures.take(step(40, loss=0.5))["train/loss"] == 0.5
    assert figures.step == 40
    assert figures.take(evaluated(0.9)) == {"test/loss": 0.3, "test/accuracy": 0.9}
    assert figures.take(evaluated(0.95, of="merged"))["merged/accuracy"] == 0.95
    assert figures.take(peer(OTHER, "joined", 2)) == {"swarm/peers": 2}
    met = figures.take(round_of(3, OWN, OTHER))
    assert met["round/members"] == 2
    assert met["round/disagreement"] == 0.0042
    assert (met["swarm/rounds"], met["swarm/bytes_sent"]) == (1, 421_000)
    assert set(figures.take(round_of(4, OWN, OTHER))) >= {"swarm/rounds", "swarm/bytes_sent"} & set(TOTALS)


def test_what_is_not_a_finite_number_is_left_out() -> None:
    figures = Figures()
    assert "train/loss" not in figures.take(step(1, loss=math.nan))
    assert "round/disagreement" not in figures.take(round_of(1, OWN, OTHER, disagreement=None))


def test_rounds_that_fail_are_counted_but_not_those_of_a_lone_peer() -> None:
    figures = Figures()
    figures.take(RoundFailed(reason="waiting for company", alone=True))
    assert figures.take(RoundFailed(reason="nobody came"))["swarm/failed_rounds"] == 1
