"""What virtual peers draw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gossiptrain.errors import UsageError
from gossiptrain.simulate.learn_settings import LearnSettings
from gossiptrain.simulate.sources import AT_ONCE, Draws, TensorSource, TextSource, source_of
from gossiptrain.training.tasks import task_named
from gossiptrain.training.tasks.augment import CropAndFlip, Normalise

CPU = torch.device("cpu")
NUMBERS = TensorSource(torch.arange(100.0).view(100, 1), torch.arange(100) % 10)
SHARES = [np.arange(0, 10), np.arange(10, 17), np.arange(17, 100)]


def test_each_peer_draws_from_its_own_share_only() -> None:
    draws = Draws(NUMBERS, SHARES, batch=8, seeds=[1, 2, 3])
    for batch in draws.gather(draws.plan([20, 20, 20])):
        assert batch.inputs.shape == (3, 8, 1)
        assert torch.equal(batch.targets, batch.inputs[..., 0].long() % 10)
        for share, inputs in zip(SHARES, batch.inputs, strict=True):
            assert set(inputs.flatten().long().tolist()) <= set(share.tolist())


def test_a_peer_sees_all_its_samples_before_it_sees_one_again() -> None:
    draws = Draws(NUMBERS, SHARES, batch=7, seeds=[1, 2, 3])
    drawn = draws.plan([10, 10, 10])[:, 1].flatten().view(10, 7)
    assert all(sorted(epoch) == SHARES[1].tolist() for epoch in drawn.tolist())


def test_what_a_peer_draws_depends_neither_on_the_others_nor_on_the_length_of_the_plan() -> None:
    together = Draws(NUMBERS, SHARES, batch=4, seeds=[1, 2, 3]).plan([9, 9, 9])[:, 1]
    alone = Draws(NUMBERS, SHARES[1:2], batch=4, seeds=[2])
    pieces = torch.cat([alone.plan([count])[:, 0] for count in (1, 5, 3)])
    assert torch.equal(together, pieces)


def test_a_slow_peer_keeps_what_it_had_no_time_for() -> None:
    draws = Draws(NUMBERS, SHARES, batch=4, seeds=[1, 2, 3])
    planned = torch.cat([draws.plan([2, 1, 2])[:1, 1], draws.plan([2, 1, 2])[:1, 1]])
    assert torch.equal(planned, Draws(NUMBERS, SHARES[1:2], batch=4, seeds=[2]).plan([2])[:, 0])


def test_what_is_gathered_is_what_was_planned_however_much_of_it() -> None:
    draws = Draws(NUMBERS, SHARES, batch=80, seeds=[1, 2, 3])
    planned = draws.plan([150, 150, 150])
    assert planned.numel() > 2 * AT_ONCE
    found = list(draws.gather(planned))
    assert torch.equal(torch.stack([batch.inputs[..., 0].long() for batch in found]), planned)
    assert torch.equal(torch.stack([batch.targets for batch in found]), planned % 10)


def test_images_are_changed_by_a_generator_for_each_peer_and_keep_their_layout() -> None:
    images = torch.randint(0, 256, (50, 8, 8, 3), dtype=torch.uint8)
    augment = CropAndFlip(Normalise((0.5,) * 3, (0.25,) * 3), shift=2)
    source = TensorSource(images, torch.zeros(50, dtype=torch.int64), augment=augment)
    shares = [np.arange(50)] * 2
    both = Draws(source, shares, batch=4, seeds=[1, 2])
    second = Draws(source, shares[:1], batch=4, seeds=[2])
    for of_both, alone in zip(both.gather(both.plan([3, 3])), second.gather(second.plan([3])), strict=True):
        own = of_both.inputs[1]
        assert torch.equal(own, alone.inputs[0])
        assert own.is_contiguous(memory_format=torch.channels_last)


def test_windows_of_a_text_are_followed_by_the_next_character() -> None:
    text = torch.arange(200, dtype=torch.uint8)
    source = TextSource(text, context=8)
    draws = Draws(source, [np.arange(source.samples)] * 2, batch=5, seeds=[1, 2])
    (batch,) = draws.gather(draws.plan([1, 1]))
    assert batch.inputs.shape == batch.targets.shape == (2, 5, 8)
    assert torch.equal(batch.targets, batch.inputs + 1)


def test_a_text_is_cut_into_neighbouring_parts_where_peers_shall_see_different_things() -> None:
    source = TextSource(torch.zeros(4000, dtype=torch.uint8), context=8)
    parts = source.shares(LearnSettings(task="text", peers=4, non_iid=1.0))
    assert all((np.diff(part) == 1).all() for part in parts)
    mixed = source.shares(LearnSettings(task="text", peers=4))
    assert not any((np.diff(part) == 1).all() for part in mixed)


def test_classes_are_dealt_unequally_where_peers_shall_see_different_things() -> None:
    source = source_of(task_named("digits"), data_dir=None, device=CPU)
    assert source.samples == 987
    sizes = [len(part) for part in source.shares(LearnSettings(task="digits", peers=8, non_iid=0.1))]
    assert sum(sizes) == 987
    assert max(sizes) > 2 * min(sizes)


def test_a_task_that_does_not_fit_in_memory_is_refused(tmp_path: Path) -> None:
    task = task_named("imagenet", classes=2, class_digest="00")
    with pytest.raises(UsageError, match="cannot hold the data of imagenet in memory"):
        source_of(task, data_dir=tmp_path, device=CPU)
