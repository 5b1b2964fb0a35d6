"""Two runs are compared field by field, and the difference is named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gossiptrain.core.fingerprint import RunFingerprint, TensorSpec, model_digest

RUN = RunFingerprint(protocol=1, run="digits", task="digits/mlp", model="ab" * 32, elements=100)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"protocol": 2}, "protocol version differs: 1 here, 2 there"),
        ({"run": "other"}, "run differs: 'digits' here, 'other' there"),
        ({"task": "cifar10"}, "task differs: 'digits/mlp' here, 'cifar10' there"),
        ({"elements": 1234}, "model differs: 100 averaged values here, 1,234 there"),
        ({"model": "cd" * 32}, "model differs: as many values"),
    ],
)
def test_the_first_field_that_differs_is_named(change: dict[str, object], words: str) -> None:
    other = replace(RUN, **change)  # type: ignore[arg-type]
    assert words in str(RUN.difference(other))
    assert RUN.key != other.key


def test_equal_runs_do_not_differ() -> None:
    assert RUN.difference(replace(RUN)) is None
    assert RUN.key == replace(RUN).key


def test_the_digest_sees_names_shapes_types_order_and_frozen_values() -> None:
    weight, bias = TensorSpec("weight", (2, 3), "float32"), TensorSpec("bias", (2,), "float32")
    digests = {
        model_digest([weight, bias]),
        model_digest([bias, weight]),
        model_digest([replace(weight, name="w"), bias]),
        model_digest([replace(weight, shape=(3, 2)), bias]),
        model_digest([replace(weight, dtype="bfloat16"), bias]),
        model_digest([weight], [(bias, b"\0" * 32)]),
        model_digest([weight], [(bias, b"\1" * 32)]),
    }
    assert len(digests) == 7
