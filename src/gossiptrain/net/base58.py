"""Base58 as Bitcoin and libp2p write it: letters and digits without 0, O, I and l."""

from __future__ import annotations

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
MAX_TEXT_LENGTH = 128
"""Longest text that is decoded; decoding takes quadratic time."""


def encode_base58(data: bytes) -> str:
    """The text of `data`; each leading zero byte becomes a leading "1"."""
    number = int.from_bytes(data, "big")
    letters = []
    while number:
        number, value = divmod(number, 58)
        letters.append(_ALPHABET[value])
    zeros = len(data) - len(data.lstrip(b"\0"))
    return "1" * zeros + "".join(reversed(letters))


def decode_base58(text: str) -> bytes:
    """The bytes that `text` stands for. Raises ValueError for a foreign letter or a text that is too long."""
    if len(text) > MAX_TEXT_LENGTH:
        raise ValueError("too long for base58")
    number = 0
    for letter in text:
        if letter not in _VALUES:
            raise ValueError("not base58")
        number = number * 58 + _VALUES[letter]
    zeros = len(text) - len(text.lstrip("1"))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")
