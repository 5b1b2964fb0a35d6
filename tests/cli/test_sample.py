"""`gossip sample`: text from run folders and exported models, and what is said where there is none to be had."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from gossiptrain.training.runs.checkpoint_state import RunState
from gossiptrain.training.runs.checkpoints import CheckpointWriter
from gossiptrain.training.tasks import task_named
from tests.processes import GOSSIP, Command, Family, Peer


def save_run(folder: Path, task_name: str = "text", **variant: Any) -> Path:
    """A run folder with a checkpoint of a model that has learnt nothing."""
    task = task_named(task_name, **variant)
    state = RunState(task=task_name, fingerprint=task.description, step=7, extra={"variant": task.variant})
    CheckpointWriter(folder / "checkpoints").save(task.build_model(seed=3), None, state=state)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return save_run(tmp_path / "run", model="nano")


def test_the_text_begins_with_the_prompt_and_goes_on_for_as_long_as_asked(gossip: Command, run: Path) -> None:
    ended = gossip("sample", run, "--prompt", "To be", "--length", "30", "--seed", "1")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("To be")
    assert ended.out.endswith("\n")
    assert 0 < len(ended.out) - len("To be\n") <= 30


def test_a_seed_writes_the_same_text_again_and_without_one_it_is_another(gossip: Command, run: Path) -> None:
    seeded = [gossip("sample", run, "--length", "40", "--seed", seed).out for seed in ("1", "1", "2")]
    assert seeded[0] == seeded[1] != seeded[2]
    free = {gossip("sample", run, "--length", "40").out for _ in range(2)}
    assert len(free) == 2


def test_without_temperature_no_seed_matters(gossip: Command, run: Path) -> None:
    texts = {gossip("sample", run, "--length", "20", "--temperature", "0", "--seed", seed).out for seed in "12"}
    assert len(texts) == 1


def test_an_exported_model_writes_what_its_run_writes(gossip: Command, run: Path) -> None:
    assert gossip("export", run, "--to", "model.safetensors").code == 0
    places = (run, "model.safetensors", "model.json", ".")
    texts = {gossip("sample", place, "--seed", "4", "--length", "20").out for place in places}
    assert len(texts) == 1


def test_the_prompt_is_read_from_standard_input(gossip: Command, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("Érase una vez\n".encode())))
    assert gossip("sample", run, "--prompt", "-", "--length", "1").out.startswith("Érase una vez")


def test_a_prompt_without_end_is_refused(gossip: Command, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x" * (2 << 20))))
    ended = gossip("sample", run, "--prompt", "-")
    assert ended.code == 2
    assert "longer than 1,048,576 bytes" in ended.err


def test_a_prompt_cannot_move_the_cursor(gossip: Command, run: Path) -> None:
    ended = gossip("sample", run, "--prompt", "\x1b[2J", "--length", "50", "--temperature", "100", "--seed", "1")
    assert "\x1b" not in ended.out


def in_a_shell(family: Family, script: str, **environment: str) -> Peer:
    """A command line with the real program."""
    peer = family.start(
        "-c",
        script.replace("gossip ", f"'{GOSSIP}' "),
        program=["bash"],
        environment={"PYTHONPATH": os.pathsep.join(sys.path), **environment},
    )
    assert peer.wait() == 0
    return peer


def test_a_stream_that_does_not_know_the_letters_gets_question_marks(family: Family, run: Path) -> None:
    script = f"gossip sample '{run}' --prompt ñandú --length 5"
    assert in_a_shell(family, script, PYTHONIOENCODING="ascii").out.startswith("?and?")


def test_a_reader_that_has_gone_ends_it_quietly(family: Family, run: Path) -> None:
    peer = in_a_shell(family, f"gossip sample '{run}' --length 1000000 --prompt begin | head -c 5")
    assert (peer.out, peer.err) == ("begin", "")


def test_a_run_of_another_task_is_named_with_what_to_do(gossip: Command, tmp_path: Path) -> None:
    folder = save_run(tmp_path / "run", "digits")
    ended = gossip("sample", folder)
    assert ended.code == 2
    assert f"{folder} is of the task digits, which writes no text." in ended.err
    assert f"gossip eval {folder}" in ended.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere"], 30, "There is no checkpoint in nowhere"),
        (["."], 30, "There is no checkpoint in ."),
        (["run", "--length", "0"], 2, "--length takes a whole number from 1 to 1e+06, not 0"),
        (["run", "--length", "many"], 2, "not 'many'"),
        (["run", "--temperature", "-1"], 2, "--temperature takes a number from 0 to 100, not -1"),
        (["run", "--temperature", "nan"], 2, "not nan"),
        (["run", "--promt", "x"], 2, "There is no flag --promt."),
        (["run", "--device", "tpu9"], 2, "'tpu9'"),
    ],
)
def test_what_is_wrong_is_said(gossip: Command, run: Path, arguments: list[str], code: int, said: str) -> None:
    ended = gossip("sample", *arguments)
    assert ended.code == code
    assert said in ended.err
    assert ended.out == ""


def test_a_file_that_is_no_model_is_named(gossip: Command, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[train]\n")
    ended = gossip("sample", "config.toml")
    assert ended.code == 30
    assert "config.json" in ended.err
