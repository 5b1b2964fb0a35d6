"""Settings and summaries as TOML and JSON can hold them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import tomli_w

from gossiptrain.training.runs.plain_values import for_json, for_toml

VALUES = {"none": None, "path": Path("data"), "rate": 0.5, "names": ("a", None, "b"), "nested": {1: True, "none": None}}


def test_toml_is_written_without_none_and_with_paths_as_text() -> None:
    plain = for_toml(VALUES)
    assert plain == {"path": "data", "rate": 0.5, "names": ["a", "b"], "nested": {"1": True}}
    assert tomli_w.dumps(plain)


def test_json_has_null_for_none_and_for_what_is_not_finite() -> None:
    plain = for_json({**VALUES, "loss": math.nan, "best": -math.inf})
    assert json.loads(json.dumps(plain, allow_nan=False)) == {
        "none": None,
        "path": "data",
        "rate": 0.5,
        "names": ["a", None, "b"],
        "nested": {"1": True, "none": None},
        "loss": None,
        "best": None,
    }
