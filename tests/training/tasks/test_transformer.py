"""The transformer: size, shapes, what it may see, and that it learns, alone and as many at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from gossiptrain.training.tasks.transformer import Transformer, TransformerShape

SHAPE = TransformerShape(layers=2, width=16, heads=2, context=8, vocabulary=11)


def build(seed: int = 0) -> Transformer:
    torch.manual_seed(seed)
    return Transformer(SHAPE)


def some_tokens(*sizes: int, seed: int = 0) -> Tensor:
    return torch.randint(SHAPE.vocabulary, sizes, generator=torch.Generator().manual_seed(seed))


def loss_of(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(logits.flatten(0, -2), targets.flatten())


def test_it_has_the_size_that_its_shape_says() -> None:
    assert sum(parameter.numel() for parameter in build().parameters()) == SHAPE.parameters


def test_every_parameter_has_one_name() -> None:
    model = build()
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("length", [1, 5, 8])
def test_tokens_become_logits(length: int) -> None:
    assert build()(some_tokens(3, length)).shape == (3, length, 11)


def test_no_answer_depends_on_later_tokens() -> None:
    model, tokens = build(), some_tokens(4, 8)
    changed = tokens.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % SHAPE.vocabulary
    torch.testing.assert_close(model(changed)[:, :5], model(tokens)[:, :5])
    assert not torch.allclose(model(changed)[:, 5:], model(tokens)[:, 5:])


def test_an_answer_depends_on_all_tokens_before_and_on_their_order() -> None:
    model, tokens = build(), torch.arange(8).unsqueeze(0)
    last = model(tokens)[:, -1]
    for place in range(7):
        changed = tokens.clone()
        changed[:, place] = 9
        assert not torch.equal(model(changed)[:, -1], last)
    swapped = tokens[:, [1, 0, *range(2, 8)]]
    assert not torch.equal(model(swapped)[:, -1], last)


def test_it_starts_undecided() -> None:
    tokens = some_tokens(64, 9)
    loss = loss_of(build()(tokens[:, :-1]), tokens[:, 1:])
    assert loss.item() == pytest.approx(torch.tensor(11.0).log().item(), abs=0.1)


def test_it_learns_to_count() -> None:
    model = build()
    tokens = (torch.arange(9) + torch.arange(11).unsqueeze(1)) % 11
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        loss = loss_of(model(tokens[:, :-1]), tokens[:, 1:])
        torch.autograd.backward(loss)
        optimizer.step()
    assert loss.item() < 0.2


def test_it_tolerates_mixed_precision() -> None:
    model, tokens = build(), some_tokens(16, 9)
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(model(tokens[:, :-1]), tokens[:, 1:])
    torch.autograd.backward(loss)
    assert loss.dtype == torch.float32
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    torch.testing.assert_close(loss, loss_of(model(tokens[:, :-1]), tokens[:, 1:]), atol=0.05, rtol=0.05)


def test_many_of_them_run_as_one_and_learn_the_same() -> None:
    models = [build(seed) for seed in range(3)]
    tokens = some_tokens(3, 4, 9)
    parameters, _ = stack_module_state(models)

    def loss_with(values: dict[str, Tensor], of: Tensor) -> Tensor:
        return loss_of(functional_call(models[0], values, (of[:, :-1],)), of[:, 1:])

    # The fused attention of the CPU has no rule for many models at once; the plain one has.
    with sdpa_kernel(SDPBackend.MATH):
        together = vmap(grad(loss_with))(parameters, tokens)
    for index, model in enumerate(models):
        torch.autograd.backward(loss_of(model(tokens[index, :, :-1]), tokens[index, :, 1:]))
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(together[name][index], parameter.grad)
