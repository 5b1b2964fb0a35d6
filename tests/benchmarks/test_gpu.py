"""All parts of what is measured on a GPU run on the processor, in small; and without a GPU nothing is pretended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu.figures import Figure, figures_in, tell
from benchmarks.gpu.shakespeare import PUBLISHED_LOSS, Block, Course, Model

REPOSITORY = Path(__file__).parents[2]
LONGEST_S = 280
pytestmark = pytest.mark.timeout(LONGEST_S + 20)


def small(*parts: str, report: Path, **variables: str) -> list[dict[str, object]]:
    """What the parts found on the processor."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--small", "--json", str(report), "--parts"]
    environment = {**os.environ, **variables}
    done = subprocess.run(
        [*command, *parts],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, object]] = json.loads(report.read_text())["results"]
    assert [each["failure"] for each in found] == [""] * len(parts)
    return found


def named(outcome: dict[str, object]) -> dict[str, Figure]:
    figures = outcome["figures"]
    assert isinstance(figures, list)
    return {figure["what"]: Figure(**figure) for figure in figures}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so_and_measures_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert gpu.main(["--json", str(tmp_path / "gpu.json")]) == 2
    assert "There is no NVIDIA GPU here" in capsys.readouterr().err
    assert not (tmp_path / "gpu.json").exists()


def test_all_parts_together_end_within_ten_minutes() -> None:
    assert sum(gpu.LIMITS_S.values()) < 600


def test_figures_come_out_as_they_were_told(capsys: pytest.CaptureFixture[str]) -> None:
    told = [Figure("a round", 12.5, "ms"), Figure("values", 3, "wrong", holds=False)]
    for figure in told:
        tell(figure)
    assert figures_in(["for people", *capsys.readouterr().out.splitlines()]) == told


def test_a_part_that_is_cut_off_or_fails_is_told_with_what_it_found(tmp_path: Path) -> None:
    cut_off = gpu.run("values", ["--device", "cpu"], limit_s=0.1)
    assert cut_off.failure == "cut off after 0 s"
    failed = gpu.run("rounds", ["--no-such-flag"], limit_s=LONGEST_S)
    assert failed.failure == "ended with 2"
    assert not cut_off.is_well
    assert not failed.is_well


@pytest.mark.long
def test_values_and_rounds_are_found_on_the_processor(tmp_path: Path) -> None:
    values, rounds = small("values", "rounds", report=tmp_path / "gpu.json")
    assert all(figure.holds for figure in named(values).values())
    found = named(rounds)
    for codec in ("fp32", "int8"):
        assert found[f"rounds, 4 MB, {codec}"].value >= 1
        assert found[f"steps kept, {codec}"].value > 0
    assert found["4 MB to the host"].value > 0


@pytest.mark.long
def test_the_laboratory_and_shakespeare_run_on_the_processor(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    text = tmp_path / "text" / "input.txt"
    text.write_text("to be or not to be, that is the question.\n" * 200)
    laboratory, shakespeare = small(
        "laboratory", "shakespeare", report=tmp_path / "gpu.json", GOSSIPTRAIN_DATA=str(text)
    )
    assert all(figure.value > 0 for figure in named(laboratory).values())
    found = named(shakespeare)
    assert 0 < found[f"lowest validation loss of 2 peers, published {PUBLISHED_LOSS}"].value < 4
    assert found["rounds"].value >= 1


def test_the_model_is_as_large_as_the_published_one_and_does_not_look_ahead() -> None:
    whole = Model(Course("cpu"), vocabulary=65)
    inside = sum(parameter.numel() for name, parameter in whole.named_parameters() if name != "positions.weight")
    assert inside == pytest.approx(10.65e6, rel=0.01)
    course = Course("cpu", layers=1, heads=2, width=32, context=16)
    model = Model(course, vocabulary=8).eval()
    tokens = torch.randint(8, (1, 16))
    changed = torch.cat([tokens[:, :8], (tokens[:, 8:] + 1) % 8], dim=1)
    assert torch.allclose(model(tokens)[:, :8], model(changed)[:, :8], atol=1e-6)
    assert isinstance(model.blocks[0], Block)


def test_the_learning_rate_warms_up_and_falls_to_a_tenth() -> None:
    course = Course("cpu")
    rates = [course.learning_rate(step) for step in range(course.steps)]
    assert rates[0] < rates[30] < max(rates)
    assert max(rates) == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(1e-4, rel=0.01)
