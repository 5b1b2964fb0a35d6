"""Evaluation: right numbers, and a model left as it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gossiptrain.training.tasks.evaluation import TensorEvaluationSet

LOGITS = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0], [0.0, 0.5], [4.0, 0.0]])
TARGETS = torch.tensor([0, 1, 1, 1, 0])


def evaluation_set(batch: int = 2) -> TensorEvaluationSet:
    return TensorEvaluationSet(LOGITS, TARGETS, batch=batch)


@pytest.mark.parametrize("batch", [1, 2, 5, 100])
def test_loss_and_accuracy_do_not_depend_on_the_batch(batch: int) -> None:
    evaluation = evaluation_set(batch).evaluate(nn.Identity())
    assert evaluation.loss == pytest.approx(functional.cross_entropy(LOGITS, TARGETS).item())
    assert evaluation.accuracy == pytest.approx(0.8)
    assert evaluation.samples == 5


def test_of_samples_with_several_answers_every_answer_counts() -> None:
    logits, targets = LOGITS.repeat(3, 1, 1), torch.stack([TARGETS, TARGETS, 1 - TARGETS])
    evaluation = TensorEvaluationSet(logits, targets, batch=2).evaluate(nn.Identity())
    assert evaluation.loss == pytest.approx(functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).item())
    assert evaluation.accuracy == pytest.approx((0.8 + 0.8 + 0.2) / 3)
    assert evaluation.samples == 3


def test_some_samples_are_always_the_same_ones() -> None:
    held_out = TensorEvaluationSet(torch.randn(200, 2), torch.zeros(200, dtype=torch.int64), batch=7)
    first, second = (held_out.evaluate(nn.Identity(), samples=50) for _ in range(2))
    assert first == second
    assert first.samples == 50
    assert first.loss != held_out.evaluate(nn.Identity()).loss


def test_more_samples_than_there_are_means_all() -> None:
    assert evaluation_set().evaluate(nn.Identity(), samples=99) == evaluation_set().evaluate(nn.Identity())


def test_every_module_keeps_its_own_mode_and_its_statistics() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(), nn.Identity())
    model.train()
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluation_set().evaluate(model)
    assert [module.training for module in model] == [True, False, True]
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_model_is_in_eval_mode_without_gradients_meanwhile() -> None:
    class Watched(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            assert not self.training
            assert torch.is_inference_mode_enabled()
            return inputs

    evaluation_set().evaluate(Watched())


def test_the_mode_comes_back_when_the_model_fails() -> None:
    class Broken(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            raise RuntimeError("broken")

    model = Broken()
    with pytest.raises(RuntimeError, match="broken"):
        evaluation_set().evaluate(model)
    assert model.training


def test_half_precision_answers_are_summed_in_full_precision() -> None:
    class Half(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs.bfloat16()

    assert evaluation_set().evaluate(Half()).loss == pytest.approx(evaluation_set().evaluate(nn.Identity()).loss)
