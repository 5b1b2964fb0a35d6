"""Virtual peers that train together end where each would end by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gossiptrain.simulate.learn_settings import LearnSettings
from gossiptrain.simulate.sources import Draws, Source, source_of
from gossiptrain.simulate.virtual_peers import VirtualPeers, VirtualPeersPlan
from gossiptrain.training.model.binding import ModelBinding
from gossiptrain.training.tasks import task_named
from gossiptrain.training.tasks.batches import Batch
from gossiptrain.training.tasks.sampling import seed_from
from gossiptrain.training.tasks.task import Task

CPU = torch.device("cpu")
TOTAL_STEPS = 40


def order_of(task: Task, source: Source, *, peers: int = 3, speeds: Sequence[float] | None = None) -> VirtualPeersPlan:
    settings = LearnSettings(task=task.name, peers=peers)
    return VirtualPeersPlan(
        task=task,
        shares=source.shares(settings),
        speeds=speeds or [1.0] * peers,
        batch=4,
        learning_rate=task.recipe.learning_rate,
        total_steps=TOTAL_STEPS,
        seed=7,
    )


def train(order: VirtualPeersPlan, source: Source, stretches: Sequence[int]) -> tuple[Tensor, float]:
    """All parameters after so many steps, and the sum of all losses."""
    virtual_peers = VirtualPeers(order, source, device=CPU)
    try:
        loss = sum(float(virtual_peers.train(steps)) for steps in stretches)
        return virtual_peers.matrix(), loss
    finally:
        virtual_peers.close()


def train_alone(order: VirtualPeersPlan, source: Source, peer: int, positions: Sequence[int]) -> tuple[Tensor, float]:
    """One peer by plain PyTorch; positions: where in the schedule each step is."""
    task = order.task
    model = task.build_model(order.seed)
    optimizer = task.build_optimizer(model, learning_rate=order.learning_rate)
    schedule = task.build_schedule(optimizer, total_steps=order.total_steps)
    draws = Draws(source, [order.shares[peer]], batch=order.batch, seeds=[seed_from("peer", order.seed, peer)])
    total = 0.0
    for batch, position in zip(draws.gather(draws.plan([len(positions)])), positions, strict=True):
        loss = task.loss(model, Batch(batch.inputs[0], batch.targets[0]))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        schedule.move_to(position)
        optimizer.step()
        total += loss.item()
    binding = ModelBinding(model)
    vector = torch.empty(binding.elements)
    binding.copy_to(vector.numpy())
    return vector, total


@pytest.mark.parametrize("peers", [1, 2, 5, 33])  # some are few in each thread, some many
def test_with_sgd_as_one_peer_at_a_time(peers: int) -> None:
    task = task_named("digits")
    source = source_of(task, data_dir=None, device=CPU)
    order = order_of(task, source, peers=max(2, peers))
    order = VirtualPeersPlan(**{**vars(order), "shares": order.shares[:peers], "speeds": order.speeds[:peers]})
    together, loss = train(order, source, [20, 5])
    alone = [train_alone(order, source, peer, range(25)) for peer in range(peers)]
    assert torch.allclose(together, torch.stack([values for values, _ in alone]), atol=1e-5)
    assert loss == pytest.approx(sum(own for _, own in alone), rel=1e-4)


def test_with_adamw_and_shortened_gradients_as_one_peer_at_a_time(text_folder: Path) -> None:
    task = task_named("text", model="tiny")
    source = source_of(task, data_dir=text_folder, device=CPU)
    order = order_of(task, source)
    together, loss = train(order, source, [3, 2])
    alone = [train_alone(order, source, peer, range(5)) for peer in range(3)]
    # Adam makes steps of one size out of gradients that are almost nothing, and of their rounding, too.
    assert torch.allclose(together, torch.stack([values for values, _ in alone]), atol=2e-4)
    assert loss == pytest.approx(sum(own for _, own in alone), rel=1e-4)


def test_peers_of_different_speeds_as_one_peer_at_a_time() -> None:
    task = task_named("digits")
    source = source_of(task, data_dir=None, device=CPU)
    order = order_of(task, source, speeds=[0.5, 1.5, 1.0])
    together, loss = train(order, source, [10])
    # In the time of 10 usual steps there are 15 slots, of which each peer uses the first ones.
    positions = [slot * 10 // 15 for slot in range(15)]
    alone = [train_alone(order, source, peer, positions[:count]) for peer, count in enumerate((5, 15, 10))]
    assert torch.allclose(together, torch.stack([values for values, _ in alone]), atol=1e-5)
    assert loss == pytest.approx(sum(own for _, own in alone), rel=1e-4)


def test_own_steps_add_up_to_the_speed_however_time_is_cut() -> None:
    task = task_named("digits")
    source = source_of(task, data_dir=None, device=CPU)
    virtual_peers = VirtualPeers(order_of(task, source, speeds=[0.35, 1.65, 1.0]), source, device=CPU)
    try:
        for steps in (1, 1, 7, 3, 8):
            virtual_peers.train(steps)
        assert [virtual_peers.steps_of(peer) for peer in range(3)] == [7, 33, 20]
    finally:
        virtual_peers.close()


def test_as_many_shards_as_threads_change_next_to_nothing() -> None:
    task = task_named("digits")
    source = source_of(task, data_dir=None, device=CPU)
    order = order_of(task, source, peers=5)
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(train(order, source, [10])[0])
    assert all(torch.allclose(found[0], other, atol=1e-6) for other in found[1:])


def test_what_is_put_is_trained_on() -> None:
    task = task_named("digits")
    source = source_of(task, data_dir=None, device=CPU)
    virtual_peers = VirtualPeers(order_of(task, source), source, device=CPU)
    try:
        values = torch.zeros(3, virtual_peers.stack.elements)
        virtual_peers.put(values)
        assert torch.equal(virtual_peers.matrix(), values)
        virtual_peers.train(1)
        moved = virtual_peers.matrix()
        # Of a network of zeros only the last biases learn.
        assert (moved[:, :-10] == 0).all()
        assert (moved[:, -10:] != 0).any()
    finally:
        virtual_peers.close()
