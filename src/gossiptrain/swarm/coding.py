"""How the chunks of one attempt become bytes, and bytes chunks again.

Owns the two ways of it: plain float32, whose bytes go straight out of and into the buffers of the round, and coded
chunks, which pass through scratch memory. Where the codec is made for differences, values are told relative to the
last average, which all members still hold in the buffer of the next one. Does not know streams or members.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from gossiptrain.config import CodecName
from gossiptrain.core.averaging import Vector
from gossiptrain.core.codecs import Bytes, Codec, codes_differences
from gossiptrain.core.partition import Slice

ELEMENT_BYTES = 4
FALLBACK: CodecName = "fp16"
"""What stands in for a codec of differences where the members hold no average in common."""


@dataclass(frozen=True)
class Buffers:
    """The memory of a round: what this peer brings and where the average goes, both of the model's flat length."""

    snapshot: Vector
    average: Vector


def codec_in_use(wanted: CodecName, *, common_base: bool) -> tuple[CodecName, bool]:
    """Which codec a group uses that agreed on `wanted`, and whether it codes differences.

    common_base: whether all members still hold the last average, and so can tell differences to it. Where they cannot,
    another codec stands in for one of differences.
    """
    if not codes_differences(wanted):
        return wanted, False
    return (wanted, True) if common_base else (FALLBACK, False)


@dataclass(frozen=True)
class Scratch:
    """Memory for one chunk at a time, as bytes on the wire and as values. Each stream has its own."""

    wire: Bytes
    values: Vector


class Coding(ABC):
    """The bytes of all chunks of one attempt, for one member."""

    def __init__(self, buffers: Buffers) -> None:
        self._buffers = buffers

    @abstractmethod
    def scratch(self, elements: int) -> Scratch:
        """For chunks of up to `elements` values."""

    @abstractmethod
    def size_bytes(self, chunk: Slice) -> int:
        """Exact length of a chunk on the wire."""

    # What this member sends of the slices of others, and receives of its own.

    @abstractmethod
    def contribution(self, chunk: Slice, scratch: Scratch) -> memoryview:
        """The bytes of the own values, for the owner of the chunk."""

    @abstractmethod
    def contributed(self, chunk: Slice, scratch: Scratch) -> Vector:
        """The values of another member's contribution, whose bytes have been read to `scratch.wire`."""

    @abstractmethod
    def own_part(self, chunk: Slice) -> Vector:
        """The own values of a chunk of the own slice, in the terms of the others' contributions."""

    # The means of the own slice.

    @abstractmethod
    def mean_place(self, chunk: Slice) -> Vector:
        """Where the weighted mean of the contributions is to be written."""

    @abstractmethod
    def keep_mean(self, chunk: Slice) -> None:
        """Takes over the mean that stands in its place, exactly as the others will decode it."""

    def kept(self, chunk: Slice) -> Vector:
        """The average of a chunk that has been kept or taken."""
        return _part(self._buffers.average, chunk)

    @abstractmethod
    def mean(self, chunk: Slice) -> memoryview:
        """The bytes of a kept mean, for all other members."""

    # The means of the slices of others.

    @abstractmethod
    def mean_target(self, chunk: Slice, scratch: Scratch) -> memoryview:
        """Where the bytes of a mean are to be read."""

    @abstractmethod
    def take_mean(self, chunk: Slice, scratch: Scratch) -> Vector:
        """Puts the mean that has been read into its place in the average, and returns that."""


class PlainCoding(Coding):
    """Float32 as it is: no value is copied on its way between a buffer and a stream."""

    def scratch(self, elements: int) -> Scratch:
        values = np.empty(elements, "<f4")
        return Scratch(values.view(np.uint8), values)

    def size_bytes(self, chunk: Slice) -> int:
        return ELEMENT_BYTES * len(chunk)

    def contribution(self, chunk: Slice, scratch: Scratch) -> memoryview:
        return _part(self._buffers.snapshot, chunk).data.cast("B")

    def contributed(self, chunk: Slice, scratch: Scratch) -> Vector:
        return scratch.values[: len(chunk)]

    def own_part(self, chunk: Slice) -> Vector:
        return _part(self._buffers.snapshot, chunk)

    def mean_place(self, chunk: Slice) -> Vector:
        return _part(self._buffers.average, chunk)

    def keep_mean(self, chunk: Slice) -> None:
        """It stands where it belongs."""

    def mean(self, chunk: Slice) -> memoryview:
        return _part(self._buffers.average, chunk).data.cast("B")

    def mean_target(self, chunk: Slice, scratch: Scratch) -> memoryview:
        return _part(self._buffers.average, chunk).data.cast("B")

    def take_mean(self, chunk: Slice, scratch: Scratch) -> Vector:
        return _part(self._buffers.average, chunk)


class CodecCoding(Coding):
    """Any other codec. Beside the scratch it holds the coded means of the own slice, since members take them at their
    own pace."""

    def __init__(self, buffers: Buffers, codec: Codec, own_chunks: list[Slice], *, differences: bool) -> None:
        """differences: to the values in `buffers.average`, which must be the same for all members."""
        super().__init__(buffers)
        self._codec = codec
        self._differences = differences
        longest = max((len(chunk) for chunk in own_chunks), default=0)
        self._own = np.empty(longest, np.float32)
        self._mean = np.empty(longest, np.float32)
        self._places: dict[int, Slice] = {}
        end = 0
        for chunk in own_chunks:
            self._places[chunk.start] = Slice(end, end + self.size_bytes(chunk))
            end += self.size_bytes(chunk)
        self._coded_means = np.empty(end, np.uint8)

    def scratch(self, elements: int) -> Scratch:
        return Scratch(np.empty(self._codec.size_bytes(elements), np.uint8), np.empty(elements, np.float32))

    def size_bytes(self, chunk: Slice) -> int:
        return self._codec.size_bytes(len(chunk))

    def contribution(self, chunk: Slice, scratch: Scratch) -> memoryview:
        wire = scratch.wire[: self.size_bytes(chunk)]
        self._codec.encode(self._told(chunk, scratch.values), wire)
        return wire.data

    def contributed(self, chunk: Slice, scratch: Scratch) -> Vector:
        values = scratch.values[: len(chunk)]
        self._codec.decode(scratch.wire[: self.size_bytes(chunk)], values)
        return values

    def own_part(self, chunk: Slice) -> Vector:
        return self._told(chunk, self._own)

    def mean_place(self, chunk: Slice) -> Vector:
        return self._mean[: len(chunk)]

    def keep_mean(self, chunk: Slice) -> None:
        mean = self._mean[: len(chunk)]
        place = self._places[chunk.start]
        wire = self._coded_means[place.start : place.stop]
        self._codec.encode(mean, wire)
        self._put(chunk, wire, mean)

    def mean(self, chunk: Slice) -> memoryview:
        place = self._places[chunk.start]
        return self._coded_means[place.start : place.stop].data

    def mean_target(self, chunk: Slice, scratch: Scratch) -> memoryview:
        return scratch.wire[: self.size_bytes(chunk)].data

    def take_mean(self, chunk: Slice, scratch: Scratch) -> Vector:
        self._put(chunk, scratch.wire[: self.size_bytes(chunk)], scratch.values[: len(chunk)])
        return _part(self._buffers.average, chunk)

    def _told(self, chunk: Slice, scratch: Vector) -> Vector:
        values = _part(self._buffers.snapshot, chunk)
        if not self._differences:
            return values
        return np.subtract(values, _part(self._buffers.average, chunk), out=scratch[: len(chunk)])

    def _put(self, chunk: Slice, wire: Bytes, scratch: Vector) -> None:
        place = _part(self._buffers.average, chunk)
        self._codec.decode(wire, scratch if self._differences else place)
        if self._differences:
            np.add(place, scratch, out=place)


def _part(vector: Vector, chunk: Slice) -> Vector:
    return vector[chunk.start : chunk.stop]
