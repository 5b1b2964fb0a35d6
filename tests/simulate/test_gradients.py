"""All peers' gradients at once are those of each peer alone, by every way of finding them."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from gossiptrain.simulate.gradients import Sequential, Vmapped, gradients_for
from gossiptrain.simulate.perceptron import Perceptrons, are_perceptrons
from gossiptrain.simulate.stack import Stack
from gossiptrain.training.tasks.batches import Batch
from gossiptrain.training.tasks.cifar10 import Cifar10Task
from gossiptrain.training.tasks.convnet import ConvNet, ConvNetShape
from gossiptrain.training.tasks.digits import DigitsTask
from gossiptrain.training.tasks.task import Task
from gossiptrain.training.tasks.text import TextTask

PEERS = 3
EVERYONE = [True] * PEERS


def stack_of(model: nn.Module, task: Task) -> Stack:
    """Peers with parameters of their own."""
    stack = Stack(model, task.build_optimizer(model, learning_rate=0.1), peers=PEERS)
    generator = torch.Generator().manual_seed(0)
    values = stack.matrix()
    noise = 0.05 * torch.randn(values.shape, generator=generator)
    noise[:, stack.trained_elements :].zero_()  # running variances stay positive
    stack.put(values + noise)
    return stack


def each_alone(
    model: nn.Module, stack: Stack, task: Task, batch: Batch
) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Losses and gradients of plain models, one after the other."""
    losses, gradients = [], []
    for peer, row in enumerate(stack.matrix()):
        for placed in stack.flat.tensors:
            with torch.no_grad():
                placed.tensor.copy_(placed.view(row))
        model.zero_grad()
        loss = task.loss(model.train(), Batch(batch.inputs[peer], batch.targets[peer]))
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    return losses, gradients


def check(way: type[Sequential] | type[Vmapped], model: nn.Module, task: Task, batch: Batch) -> None:
    stack = stack_of(model, task)
    losses, gradients = each_alone(model, stack, task, batch)
    found = way(stack, task)(batch.inputs, batch.targets, EVERYONE)
    assert torch.allclose(found, torch.stack(losses), atol=1e-5)
    for peer, expected in enumerate(gradients):
        for name, gradient in expected.items():
            assert torch.allclose(stack.gradient(name)[peer], gradient, rtol=1e-3, atol=1e-5), name


@pytest.mark.parametrize("way", [Sequential, Vmapped])
def test_of_a_transformer(way: type[Sequential] | type[Vmapped]) -> None:
    task = TextTask(model="tiny")
    tokens = torch.randint(0, 256, (PEERS, 2, 17), generator=torch.Generator().manual_seed(1))
    # The attention that torch has for CPUs cannot be stacked; those for GPUs can.
    with sdpa_kernel(SDPBackend.MATH):
        check(way, task.build_model(0), task, Batch(tokens[..., :-1], tokens[..., 1:]))


@pytest.mark.parametrize("way", [Sequential, Vmapped])
def test_of_a_convolutional_network(way: type[Sequential] | type[Vmapped]) -> None:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(PEERS, 4, 3, 16, 16, generator=generator)
    labels = torch.randint(0, 10, (PEERS, 4), generator=generator)
    check(way, ConvNet(ConvNetShape(stem=4, widths=(8, 8))), Cifar10Task(), Batch(images, labels))


def test_running_statistics_are_each_peers_own_and_the_same_by_every_way() -> None:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(PEERS, 4, 3, 16, 16, generator=generator)
    labels = torch.randint(0, 10, (PEERS, 4), generator=generator)
    task = Cifar10Task()
    torch.manual_seed(0)
    model = ConvNet(ConvNetShape(stem=4, widths=(8, 8)))
    found = []
    for way in (Sequential, Vmapped):
        stack = stack_of(model, task)
        before = stack.matrix()[:, stack.trained_elements :]
        way(stack, task)(images, labels, EVERYONE)
        after = stack.matrix()[:, stack.trained_elements :]
        assert not torch.allclose(before, after)
        assert not torch.allclose(after[0], after[1])
        found.append(after)
    assert torch.allclose(found[0], found[1], atol=1e-5)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("layers", [(12, 10), (12, 7, 10), (12, 7, 5, 9, 10)])
def test_of_perceptrons_with_a_manual_backward(layers: tuple[int, ...], label_smoothing: float) -> None:
    torch.manual_seed(0)
    modules: list[nn.Module] = []
    for features_in, features_out in itertools.pairwise(layers):
        modules += [nn.Linear(features_in, features_out), nn.ReLU()]
    model = nn.Sequential(*modules[:-1])
    assert are_perceptrons(model)
    stack = stack_of(model, DigitsTask())
    found = Perceptrons.of(stack, label_smoothing=label_smoothing)
    for batch in (6, 4):
        inputs, targets = torch.randn(PEERS, batch, 12), torch.randint(0, 10, (PEERS, batch))
        losses = found(inputs, targets, EVERYONE)
        for peer, row in enumerate(stack.matrix()):
            for placed in stack.flat.tensors:
                with torch.no_grad():
                    placed.tensor.copy_(placed.view(row))
            model.zero_grad()
            loss = functional.cross_entropy(model(inputs[peer]), targets[peer], label_smoothing=label_smoothing)
            loss.backward()  # type: ignore[no-untyped-call]
            assert torch.allclose(losses[peer], loss, atol=1e-6)
            for name, parameter in model.named_parameters():
                assert parameter.grad is not None
                assert torch.allclose(stack.gradient(name)[peer], parameter.grad, atol=1e-6), name


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 2)),
        nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)),
        nn.Sequential(nn.Linear(4, 4), nn.ReLU()),
        nn.Sequential(nn.Flatten(), nn.Linear(4, 2)),
        nn.ModuleList([nn.Linear(4, 2)]),
    ],
)
def test_other_networks_are_not_taken_for_perceptrons(model: nn.Module) -> None:
    assert not are_perceptrons(model)


def test_networks_of_which_a_part_is_frozen_are_not_taken_for_perceptrons() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    next(model.parameters()).requires_grad_(False)
    assert not are_perceptrons(model)


def test_each_kind_of_model_gets_its_way() -> None:
    digits, text = DigitsTask(), TextTask(model="tiny")
    assert isinstance(gradients_for(stack_of(digits.build_model(0), digits), digits), Perceptrons)
    assert isinstance(gradients_for(stack_of(text.build_model(0), text), text), Sequential)


def test_a_peer_that_does_not_move_is_passed_over() -> None:
    task = TextTask(model="tiny")
    stack = stack_of(task.build_model(0), task)
    tokens = torch.randint(0, 256, (PEERS, 2, 9))
    Sequential(stack, task)(tokens[..., :-1], tokens[..., 1:], [True, False, True])
    norms = [float(stack.gradient("positions")[peer].norm()) for peer in range(PEERS)]
    assert norms[1] == 0
    assert norms[0] > 0
