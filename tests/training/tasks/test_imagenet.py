"""ImageNet as a task: variants, the search for the tree, and a few steps on real photos."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import torch

from gossiptrain.errors import DataCorruptError, DataMissingError, UsageError
from gossiptrain.training.tasks import task_named
from gossiptrain.training.tasks.imagenet import find_class_folders
from gossiptrain.training.tasks.locate import DATA_VARIABLE
from gossiptrain.training.tasks.sampling import Share
from tests.training.tasks.image_trees import write_tree

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DATA_VARIABLE, raising=False)


def test_classes_are_counted_in_the_data(tmp_path: Path) -> None:
    task = task_named("imagenet", data_dir=write_tree(tmp_path))
    assert task.description.startswith("imagenet/resnet18/224/3 classes ")
    assert task.variant["classes"] == 3
    assert task.build_model(0).state_dict()["head.bias"].shape == (3,)


def test_everything_that_peers_must_agree_on_is_in_the_description(tmp_path: Path) -> None:
    data = write_tree(tmp_path / "one")
    others = write_tree(tmp_path / "two", classes=("a", "b", "c"))
    tasks = [
        task_named("imagenet", data_dir=data),
        task_named("imagenet", data_dir=others),
        task_named("imagenet", data_dir=data, model="resnet50"),
        task_named("imagenet", data_dir=data, image_size=64),
    ]
    assert len({task.description for task in tasks}) == 4


def test_a_variant_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="no model 'resnet19'"):
        task_named("imagenet", model="resnet19", classes=3)
    with pytest.raises(UsageError, match="image size is 16"):
        task_named("imagenet", image_size=16, classes=3)


@pytest.mark.parametrize("name", ["imagenet", "imagenet-mini"])
def test_the_tree_is_found_by_itself_or_in_a_folder_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    tree = write_tree(tmp_path / name)
    assert find_class_folders(tree).root == tree
    assert find_class_folders(tmp_path).root == tree
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    assert find_class_folders(None).root == tree


def test_without_data_the_message_says_where_it_looked_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataMissingError, match=r"imagenet-mini[\s\S]*--data-dir or GOSSIPTRAIN_DATA"):
        find_class_folders(tmp_path)
    with pytest.raises(DataMissingError, match="no folder, as none was named"):
        find_class_folders(None)


def test_data_with_other_classes_than_the_run_is_refused(tmp_path: Path) -> None:
    task = task_named("imagenet", data_dir=write_tree(tmp_path / "one"))
    other = write_tree(tmp_path / "two", classes=("n01", "n02", "n09"))
    with pytest.raises(DataCorruptError, match="other classes than this run"):
        task.open_training(data_dir=other, share=Share(1), batch=2, device=CPU)


def test_shares_divide_the_images(tmp_path: Path) -> None:
    data = write_tree(tmp_path)
    task = task_named("imagenet", data_dir=data, image_size=32)
    sizes = []
    for part in (1, 2, 3):
        with closing(task.open_training(data_dir=data, share=Share(part, part, 3), batch=2, device=CPU)) as batches:
            sizes.append(batches.samples)
    assert sizes == [4, 4, 4]


def test_a_batch_larger_than_the_share_is_refused(tmp_path: Path) -> None:
    data = write_tree(tmp_path)
    task = task_named("imagenet", data_dir=data)
    with pytest.raises(UsageError, match="batch is 64, and this peer sees 12 samples"):
        task.open_training(data_dir=data, share=Share(1), batch=64, device=CPU)


def test_real_photos_are_learnt_from_and_evaluated(real_imagenet: Path) -> None:
    task = task_named("imagenet", data_dir=real_imagenet, image_size=64)
    model = task.build_model(0)
    optimizer = task.build_optimizer(model, learning_rate=0.01)
    losses = []
    with closing(task.open_training(data_dir=real_imagenet, share=Share(1), batch=16, device=CPU)) as batches:
        assert (batches.samples, batches.steps_per_epoch) == (600, 37)
        batch = batches.next()
        for _ in range(5):
            optimizer.zero_grad()
            loss = task.loss(model, batch)
            torch.autograd.backward(loss)
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.3
    with closing(task.open_evaluation(data_dir=real_imagenet, device=CPU)) as held_out:
        assert held_out.samples == 150
        assert held_out.evaluate(model, samples=32).samples == 32
