"""Peers in the loops of others are compared with one that has all data."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.hosted.__main__ import Outcome, best, compared, spread
from benchmarks.hosted.hosts import HOSTS, NEEDS
from benchmarks.hosted.learning import LETTERS, WINDOW, windows_of

ROOT = Path(__file__).parents[2]


def outcomes(*losses: float, rate: float = 0.01) -> list[Outcome]:
    return [Outcome("host", 1, seed, rate, loss, models=1, rounds=0) for seed, loss in enumerate(losses)]


def test_the_learning_rate_with_the_least_mean_loss_counts() -> None:
    slow, fast = outcomes(2.0, 2.2, rate=0.01), outcomes(1.9, 2.4, rate=0.02)
    assert best([*slow, *fast]) == slow
    assert spread(slow) == "2.1000 ± 0.1414"
    assert spread(slow[:1]) == "2.0000 ± 0.0000"


@pytest.mark.parametrize(("loss", "words", "is_within"), [(2.019, "+0.95%", True), (2.021, "+1.05%", False)])
def test_one_percent_more_than_one_peer_is_allowed(loss: float, words: str, is_within: bool) -> None:
    assert compared(outcomes(2.0, 2.0), outcomes(loss, loss)) == (words, is_within)


def test_what_is_held_out_is_nowhere_trained_on(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("".join(chr(32 + number % 90) for number in range(100 * WINDOW)) + "\nñ")
    training, held_out = windows_of([path, path])
    assert len(training) + len(held_out) == 200
    assert 10 < len(held_out) < 30
    assert int(training.max()) <= LETTERS


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("peers", [2, 4])
def test_all_peers_of_a_host_end_with_one_model(host: str, peers: int, tmp_path: Path) -> None:
    if importlib.util.find_spec(NEEDS[host]) is None:
        pytest.skip(f"{NEEDS[host]} is not installed")
    report = tmp_path / "report.json"
    flags = ["--hosts", host, "--peers", str(peers), "--seeds", "1", "--steps", str(20 * peers), "--json", str(report)]
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.hosted", *flags], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert report.exists(), ended.stderr
    one, together = json.loads(report.read_text())["results"]
    assert (one["peers"], together["peers"], together["models"]) == (1, peers, 1)
    assert together["rounds"] > 0
