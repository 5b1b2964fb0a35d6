"""Parameters of many peers in one memory."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from gossiptrain.errors import UsageError
from gossiptrain.simulate.stack import Stack
from gossiptrain.training.model.binding import ModelBinding
from gossiptrain.training.tasks.convnet import ConvNet, ConvNetShape
from gossiptrain.training.tasks.digits import DigitsTask

RECIPE = DigitsTask.recipe


def stack_of(model: nn.Module, peers: int = 3) -> Stack:
    return Stack(model, RECIPE.build_optimizer(model, learning_rate=0.1), peers=peers)


def test_all_peers_begin_at_the_model_and_rows_are_laid_out_like_its_flat_vector() -> None:
    model = ConvNet(ConvNetShape(stem=4, widths=(8,)))
    stack = stack_of(model)
    binding = ModelBinding(model)
    vector = torch.empty(binding.elements)
    binding.copy_to(vector.numpy())
    assert stack.elements == binding.elements
    assert torch.equal(stack.matrix(), vector.expand(3, -1))


def test_what_is_put_comes_back() -> None:
    stack = stack_of(ConvNet(ConvNetShape(stem=4, widths=(8,))))
    matrix = torch.randn(3, stack.elements)
    stack.put(matrix)
    assert torch.equal(stack.matrix(), matrix)


def test_parameters_and_gradients_of_a_group_are_one_piece_of_memory() -> None:
    stack = stack_of(DigitsTask().build_model(0))
    for values, names in stack.groups:
        assert values.numel() == sum(stack.parameters[name].numel() for name in names)
        values.fill_(2.0)
        assert values.grad is not None
        values.grad.fill_(3.0)
        for name in names:
            assert (stack.parameters[name] == 2.0).all()
            assert (stack.gradient(name) == 3.0).all()


def test_convolutions_keep_the_layout_of_the_template() -> None:
    stack = stack_of(ConvNet(ConvNetShape(stem=4, widths=(8,))))
    weight = stack.parameters["stem.convolution.weight"]
    assert weight[1].is_contiguous(memory_format=torch.channels_last)


def test_matrices_lie_transposed_where_that_is_asked_for() -> None:
    model = DigitsTask().build_model(0)
    optimizer = RECIPE.build_optimizer(model, learning_rate=0.1)
    plain, transposed = (Stack(model, optimizer, peers=3, matrices_transposed=asked) for asked in (False, True))
    assert plain.parameters["0.weight"][1].is_contiguous()
    assert transposed.parameters["0.weight"][1].T.is_contiguous()
    assert torch.equal(plain.matrix(), transposed.matrix())


def test_rows_share_their_memory_with_the_stack() -> None:
    stack = stack_of(DigitsTask().build_model(0))
    with torch.no_grad():
        for leaves in stack.row_of(1):
            for leaf in leaves:
                leaf.zero_()
    matrix = stack.matrix()
    assert (matrix[1] == 0).all()
    assert not (matrix[0] == 0).all()


def test_each_peers_gradient_is_shortened_by_itself() -> None:
    stack = stack_of(DigitsTask().build_model(0))
    for scale, peer in ((0.001, 0), (1.0, 1), (50.0, 2)):
        for leaves in stack.row_of(peer):
            for leaf in leaves:
                assert leaf.grad is not None
                leaf.grad.copy_(scale * torch.randn(leaf.shape))
    expected = []
    for peer in range(3):
        leaves = [leaf.detach().clone().requires_grad_() for group in stack.row_of(peer) for leaf in group]
        for leaf, own in zip(leaves, (leaf for group in stack.row_of(peer) for leaf in group), strict=True):
            assert own.grad is not None
            leaf.grad = own.grad.clone()
        clip_grad_norm_(leaves, 1.0)
        expected.append([leaf.grad for leaf in leaves])
    stack.clip_gradients(1.0)
    for peer, gradients in enumerate(expected):
        own_leaves = [leaf for group in stack.row_of(peer) for leaf in group]
        for leaf, gradient in zip(own_leaves, gradients, strict=True):
            assert leaf.grad is not None
            assert gradient is not None
            assert torch.allclose(leaf.grad, gradient, rtol=1e-5)


def test_frozen_parameters_are_not_stacked() -> None:
    model = DigitsTask().build_model(0)
    next(model.parameters()).requires_grad_(False)
    assert "0.weight" not in stack_of(model).parameters


def test_models_in_another_precision_are_refused() -> None:
    with pytest.raises(UsageError, match="trains float32 models"):
        stack_of(DigitsTask().build_model(0).double())
