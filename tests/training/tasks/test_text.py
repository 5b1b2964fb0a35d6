"""Text as a task: its variants, what a batch looks like, and that it is learnt and evaluated by the character."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gossiptrain.errors import DataCorruptError, UsageError
from gossiptrain.training.tasks import task_named
from gossiptrain.training.tasks.sampling import Share
from gossiptrain.training.tasks.text import EVALUATION_CHARACTERS, SHAPES
from gossiptrain.training.tasks.text_file import FILE
from tests.processes import Command

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def rhyme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text that is easily learnt: one line, again and again."""
    folder = tmp_path_factory.mktemp("rhyme")
    (folder / FILE).write_text("A rose is a rose is a rose.\n" * 400)
    return folder


def test_the_models_have_the_size_that_they_say() -> None:
    sizes = {name: task_named("text", model=name).build_model(0) for name in SHAPES}
    counted = {name: sum(parameter.numel() for parameter in model.parameters()) for name, model in sizes.items()}
    assert counted == {"small": 837_888, "tiny": 119_424, "nano": 829_696}


def test_peers_must_have_the_same_model_whatever_they_read() -> None:
    assert task_named("text").description == "text/transformer 4x128x4 on 128 bytes"
    assert task_named("text", model="tiny").description == "text/transformer 2x64x2 on 64 bytes"


def test_other_variants_are_refused() -> None:
    with pytest.raises(UsageError, match=r"no model 'huge' for text[\s\S]*small, tiny, nano"):
        task_named("text", model="huge")
    with pytest.raises(UsageError, match="text has no setting classes"):
        task_named("text", classes=65)


def test_a_rhyme_is_learnt_and_foretold(rhyme: Path) -> None:
    task = task_named("text", model="tiny")
    batches = task.open_training(data_dir=rhyme, share=Share(1), batch=8, device=CPU)
    held_out = task.open_evaluation(data_dir=rhyme, device=CPU)
    model = task.build_model(0)
    before = held_out.evaluate(model)
    assert before.loss == pytest.approx(math.log(256), abs=0.2)
    assert before.accuracy < 0.2
    optimizer = task.build_optimizer(model, learning_rate=task.recipe.learning_rate)
    for _ in range(100):
        optimizer.zero_grad()
        torch.autograd.backward(task.loss(model, batches.next()))
        optimizer.step()
    after = held_out.evaluate(model)
    assert after.loss < 0.5
    assert after.accuracy > 0.9


def test_a_share_is_a_part_of_the_text(rhyme: Path) -> None:
    task = task_named("text", model="tiny")
    samples = [
        task.open_training(data_dir=rhyme, share=Share(1, part, parts), batch=4, device=CPU).samples
        for part, parts in [(None, None), (1, 2), (2, 2)]
    ]
    assert samples[0] == 10_080 // 64 - 1
    assert sum(samples[1:]) == pytest.approx(samples[0], abs=2)


def test_a_share_without_any_text_is_refused(rhyme: Path) -> None:
    with pytest.raises(UsageError, match="this peer sees 0 samples"):
        task_named("text").open_training(data_dir=rhyme, share=Share(1, 12, 12), batch=4, device=CPU)


def test_a_text_that_is_too_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("Brevity is the soul of wit.")
    with pytest.raises(DataCorruptError, match="too short"):
        task_named("text").open_evaluation(data_dir=tmp_path, device=CPU)


def test_the_commands_train_resume_evaluate_and_export_it(rhyme: Path, gossip: Command) -> None:
    data = ("--data-dir", rhyme)
    assert gossip.train("--alone", "--model", "tiny", "--max-steps", "3", *data, "--out", "run", task="text").code == 0
    assert gossip.train("--alone", "--resume", "run", "--max-steps", "5", *data, task="text").code == 0
    ended = gossip("eval", "run", *data, "--device", "cpu")
    assert ended.out.startswith("text at step 5: accuracy ")
    assert gossip("export", "run", "--to", "model.safetensors").code == 0
    model = task_named("text", model="tiny").build_model(1)
    model.load_state_dict(load_file("model.safetensors"))


def test_the_command_says_which_models_there_are_and_where_a_text_is_missing(tmp_path: Path, gossip: Command) -> None:
    assert gossip.train("--alone", "--model", "huge", task="text").code == 2
    ended = gossip.train("--alone", "--data-dir", tmp_path, task="text")
    assert ended.code == 21
    assert "There is no text to learn from." in ended.err


def test_shakespeare_is_read_and_a_part_of_what_is_held_out_is_foretold(real_shakespeare: Path) -> None:
    task = task_named("text", model="tiny")
    batches = task.open_training(data_dir=real_shakespeare, share=Share(1), batch=32, device=CPU)
    assert (batches.samples, batches.steps_per_epoch) == (15_684, 490)
    text = bytes(batches.next().inputs[0].tolist()).decode("ascii")
    assert len(text) == 64
    assert task.open_evaluation(data_dir=real_shakespeare, device=CPU).samples == EVALUATION_CHARACTERS // 64
