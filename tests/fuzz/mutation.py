"""Inputs that are nearly right: valid ones with something wrong in them.

Owns the ways in which bytes are changed: bits, pieces, numbers, lengths, nesting, and pieces of other inputs. The same
seed gives the same inputs. Does not know what the bytes mean.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence

BEYOND_BYTES = 16
"""By which an input may be longer than its decoder allows."""
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_NUMBERS = (b"0", b"-1", b"1e999", b"-0.0", b"NaN", b"9007199254740993", b"%d" % 2**63, b"1" * 5000, b"1e-400", b"1_0")
_TOKENS = (
    *(b"null", b"true", b"[]", b"{}", b'""', b'"\\ud800"', b"\\u0000", b"\xff\xfe", b"\xc0\x80", b"\0", b"/", b"\n"),
    *(b"/p2p/", b"/p2p-circuit", b"/ip6/::1", b"/tcp/0", b"%00", b"..", b"_", "٣".encode(), "\u202e".encode()),
    *(b"\xc7\xff\xff\x50", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xc0\x0c"),
)
_INTEGERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
_NESTS = ((b"[", b"]"), (b'{"a":', b"}"), (b"\x91", b""), (b"(", b")"), (b"\xdd\x00\x00\x10\x00", b""))


class Mutator:
    """Makes inputs of the seeds of one decoder."""

    def __init__(self, seeds: Sequence[bytes], *, limit_bytes: int, seed: int) -> None:
        self._seeds = tuple(seeds)
        self._longest = limit_bytes + BEYOND_BYTES
        self._rng = random.Random(seed)
        self._ways: tuple[Callable[[bytearray], None], ...] = (
            self._flip,
            self._flip,
            self._drop,
            self._repeat,
            self._put_token,
            self._put_integer,
            self._put_number,
            self._put_noise,
            self._splice,
            self._nest,
        )

    def inputs(self, count: int) -> Iterator[bytes]:
        """So many of them."""
        for _ in range(count):
            yield self.changed(self._rng.choice(self._seeds))

    def changed(self, data: bytes) -> bytes:
        """The input with one thing wrong in it, or a few."""
        changed = bytearray(data)
        for _ in range(min(int(self._rng.expovariate(0.7)) + 1, 8)):
            self._rng.choice(self._ways)(changed)
        return bytes(changed[: self._longest])

    def _place(self, data: bytearray) -> int:
        return self._rng.randint(0, len(data))

    def _piece(self, data: bytearray) -> slice:
        begin = self._place(data)
        return slice(begin, min(len(data), begin + 1 + int(self._rng.paretovariate(0.7))))

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._rng.randrange(len(data))] ^= 1 << self._rng.randrange(8)

    def _drop(self, data: bytearray) -> None:
        del data[self._piece(data)]

    def _repeat(self, data: bytearray) -> None:
        piece = bytes(data[self._piece(data)])
        times = min(int(self._rng.paretovariate(0.5)), self._longest // max(1, len(piece)) + 1)
        place = self._place(data)
        data[place:place] = piece * times

    def _put_token(self, data: bytearray) -> None:
        place = self._piece(data) if self._rng.random() < 0.5 else slice(begin := self._place(data), begin)
        data[place] = self._rng.choice(_TOKENS)

    def _put_integer(self, data: bytearray) -> None:
        size = self._rng.choice((1, 2, 4, 8))
        number = self._rng.choice(_INTEGERS) & (1 << 8 * size) - 1
        begin = self._place(data)
        data[begin : begin + size] = number.to_bytes(size, self._rng.choice(("big", "little")))

    def _put_number(self, data: bytearray) -> None:
        found = list(_NUMBER.finditer(data, self._place(data)))[:8]
        if found:
            one = self._rng.choice(found)
            data[one.start() : one.end()] = self._rng.choice(_NUMBERS)

    def _put_noise(self, data: bytearray) -> None:
        data[self._piece(data)] = self._rng.randbytes(min(int(self._rng.paretovariate(0.7)), 4096))

    def _splice(self, data: bytearray) -> None:
        other = self._rng.choice(self._seeds)
        data[self._piece(data)] = other[self._piece(bytearray(other))]

    def _nest(self, data: bytearray) -> None:
        opening, closing = self._rng.choice(_NESTS)
        depth = min(int(10 * self._rng.paretovariate(0.5)), self._longest // len(opening))
        begin = self._place(data)
        if self._rng.random() < 0.5:
            data[begin:] = data[begin:] + closing * depth
        data[begin:begin] = opening * depth
