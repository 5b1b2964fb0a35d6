"""Limits of what may stand in a directory, whatever its kind.

Owns the sizes and lifetimes of entries. Does not know what they mean.
"""

from __future__ import annotations

MAX_NAME_BYTES = 128
MAX_VALUE_BYTES = 1024
MAX_LIFETIME_S = 3600.0
MAX_SUBKEYS = 128
"""Most entries that one key has. Where there are more, those that would have expired first are dropped."""


def check_entry(key: str, subkey: str, *, value: bytes, lifetime_s: float) -> None:
    """Raises ValueError where an entry is outside the limits."""
    if not 0 < len(key.encode()) <= MAX_NAME_BYTES or not 0 < len(subkey.encode()) <= MAX_NAME_BYTES:
        raise ValueError(f"key and subkey of a directory entry have 1 to {MAX_NAME_BYTES} bytes")
    if len(value) > MAX_VALUE_BYTES:
        raise ValueError(f"a directory entry has at most {MAX_VALUE_BYTES} bytes, not {len(value)}")
    if not 0 < lifetime_s <= MAX_LIFETIME_S:
        raise ValueError(f"a directory entry lives at most {MAX_LIFETIME_S:g} s, not {lifetime_s:g}")
