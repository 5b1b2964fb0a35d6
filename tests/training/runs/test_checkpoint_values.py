"""Values as tensors and JSON, and back, exactly."""

from __future__ import annotations

import json
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gossiptrain.training.runs.checkpoint_values import from_json, to_json

JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.just("$tensor") | st.just("$dict"), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON_LIKE)
@settings(deadline=None, max_examples=100)
def test_any_nesting_of_plain_values_comes_back_as_it_was(value: Any) -> None:
    encoded = json.loads(json.dumps(to_json(value, "value", {}), allow_nan=False))
    decoded = from_json(encoded, {})
    assert decoded == value
    assert repr(decoded) == repr(value)  # 1, 1.0 and True are equal and not the same.


def test_tensors_that_would_get_the_same_name_are_kept_apart() -> None:
    tensors: dict[str, Tensor] = {}
    value = {"a.b": torch.zeros(1), "a": {"b": torch.ones(1)}}
    decoded = from_json(to_json(value, "x", tensors), tensors)
    assert decoded["a.b"] == 0
    assert decoded["a"]["b"] == 1
