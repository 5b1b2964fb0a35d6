"""Settings and summaries as TOML and JSON can hold them.

Owns what becomes of values that these lack. One way only: nothing is read back. Values of checkpoints, which have to
come back exactly, are `checkpoint_values`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any


def for_toml(value: Any) -> Any:
    """The same without None, which TOML lacks, and with paths and other objects as their text."""
    if isinstance(value, Mapping):
        return {str(name): for_toml(item) for name, item in value.items() if item is not None}
    if isinstance(value, list | tuple | set | frozenset):
        return [for_toml(item) for item in value if item is not None]
    return value if isinstance(value, bool | int | float | str | datetime | date) else str(value)


def for_json(value: Any) -> Any:
    """The same with null for numbers that are not finite, and other objects as their text."""
    if isinstance(value, Mapping):
        return {str(name): for_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [for_json(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
