"""CIFAR-10 as a task: where it is found, what a batch looks like, and that it is learnt."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gossiptrain.errors import DataMissingError, UsageError
from gossiptrain.training.tasks import task_named
from gossiptrain.training.tasks.batches import TrainingBatches
from gossiptrain.training.tasks.cifar10 import SHAPES, load_cifar10
from gossiptrain.training.tasks.locate import DATA_VARIABLE
from gossiptrain.training.tasks.sampling import Share

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def batches(real_cifar: Path) -> TrainingBatches:
    return task_named("cifar10").open_training(data_dir=real_cifar, share=Share(1), batch=64, device=CPU)


def test_the_models_have_the_size_that_they_say() -> None:
    sizes = {name: task_named("cifar10", model=name).build_model(0) for name in SHAPES}
    counted = {name: sum(parameter.numel() for parameter in model.parameters()) for name, model in sizes.items()}
    assert counted == {
        "small": 2_263_000,
        "tiny": 122_504,
        "small-groups": 2_263_000,
        "tiny-groups": 122_504,
        "vgg11": 9_225_610,
    }


def test_peers_must_have_the_same_model() -> None:
    assert task_named("cifar10").description == "cifar10/convnet 24-80-160-256"
    assert task_named("cifar10", model="tiny").description == "cifar10/convnet 8-16-32-64"
    assert task_named("cifar10", model="tiny-groups").description == "cifar10/convnet 8-16-32-64 in groups"
    assert task_named("cifar10", model="vgg11").description == "cifar10/vgg11"


def test_other_variants_are_refused() -> None:
    with pytest.raises(
        UsageError, match=r"no model 'huge' for cifar10[\s\S]*small, tiny, small-groups, tiny-groups, vgg11"
    ):
        task_named("cifar10", model="huge")
    with pytest.raises(UsageError, match="cifar10 has no setting classes"):
        task_named("cifar10", classes=10)


def test_a_batch_is_augmented_normalised_and_laid_out_for_convolutions(batches: TrainingBatches) -> None:
    batch = batches.next()
    assert batch.inputs.shape == (64, 3, 32, 32)
    assert batch.inputs.is_contiguous(memory_format=torch.channels_last)
    assert batch.targets.dtype == torch.int64
    assert batch.inputs.mean().item() == pytest.approx(0, abs=0.3)
    assert batch.inputs.std().item() == pytest.approx(1, abs=0.2)
    assert (batches.samples, batches.steps_per_epoch) == (50_000, 781)


def test_batches_continue_exactly(batches: TrainingBatches) -> None:
    state = batches.state()
    expected = [batches.next() for _ in range(3)]
    batches.restore(state)
    for batch in expected:
        again = batches.next()
        assert torch.equal(again.inputs, batch.inputs)
        assert torch.equal(again.targets, batch.targets)


def test_a_few_steps_lower_the_loss(batches: TrainingBatches) -> None:
    task = task_named("cifar10")
    model = task.build_model(0)
    optimizer = task.build_optimizer(model, learning_rate=0.02)
    batch = batches.next()
    losses = []
    for _ in range(6):
        loss = task.loss(model, batch)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.2


def test_the_test_set_is_evaluated_as_it_is(real_cifar: Path) -> None:
    task = task_named("cifar10")
    evaluation = task.open_evaluation(data_dir=real_cifar, device=CPU).evaluate(task.build_model(0), samples=250)
    assert evaluation.samples == 250
    assert 0 <= evaluation.accuracy < 0.3
    assert evaluation.loss == pytest.approx(2.3, abs=0.2)


def test_the_folder_is_found_by_itself_or_in_the_one_above(real_cifar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    assert len(load_cifar10(real_cifar / "cifar-10-batches-py", "test").labels) == 10_000
    monkeypatch.setenv(DATA_VARIABLE, str(real_cifar))
    assert len(load_cifar10(None, "test").labels) == 10_000


def test_a_named_folder_without_the_data_is_an_error_and_nothing_is_downloaded(tmp_path: Path) -> None:
    with pytest.raises(DataMissingError, match=r"not in[\s\S]*cifar-10-batches-py[\s\S]*leave --data-dir out"):
        load_cifar10(tmp_path, "train")


def test_an_incomplete_folder_is_an_error_and_nothing_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    with pytest.raises(DataMissingError, match="incomplete: data_batch_1, data_batch_2"):
        load_cifar10(None, "train")


def test_an_environment_without_the_data_leads_to_the_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(DataMissingError, match="downloading it failed"):
        load_cifar10(None, "train")
