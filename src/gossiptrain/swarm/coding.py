"""How the chunks of one attempt become bytes, and bytes chunks again.

Owns what there is to it, and two ways: plain float32, whose bytes go straight out of and into the buffers of the round,
and coded chunks, which pass through scratch memory. The third, for int8 and int4, is `near_coding`. Does not know
streams or members.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gossiptrain.core.averaging import Vector, squared_distances
from gossiptrain.core.codecs import Bytes, Codec
from gossiptrain.core.movement import Radii
from gossiptrain.core.partition import Slice

ELEMENT_BYTES = 4


@dataclass(frozen=True)
class Buffers:
    """The memory of a round: what this peer brings and where the average goes, both of the model's flat length.

    radii: how far contributions of others may be from the snapshot, None: as far as they are.
    """

    snapshot: Vector
    average: Vector
    radii: Radii | None = None


@dataclass(frozen=True)
class Scratch:
    """Memory for one chunk at a time, as bytes on the wire and as values. Each stream has its own."""

    wire: Bytes
    values: Vector


class UnreadableError(Exception):
    """What a member has sent does not tell its values: nobody's fault, and another codec will."""


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
        """The bytes of the own values, for the owner of the chunk.

        Raises UnreadableError where no bytes would tell them well enough.
        """

    @abstractmethod
    def contributed(self, chunk: Slice, scratch: Scratch) -> Vector:
        """The values of another member's contribution, whose bytes have been read to `scratch.wire`.

        Raises UnreadableError where they cannot be told from these bytes.
        """

    def own_part(self, chunk: Slice) -> Vector:
        """The own values of a chunk of the own slice."""
        return part_of(self._buffers.snapshot, chunk)

    # The means of the own slice.

    @abstractmethod
    def mean_place(self, chunk: Slice) -> Vector:
        """Where the weighted mean of the contributions is to be written."""

    def squared_distances(self, chunk: Slice, parts: Sequence[Vector], scratch: Vector) -> float:
        """Sum over the contributions of all members, the own one included, of |part - mean|^2.

        Once for each chunk, when the mean stands in its place. scratch: memory as long as the chunk.
        """
        return squared_distances(parts, self.mean_place(chunk), scratch=scratch)

    @abstractmethod
    def keep_mean(self, chunk: Slice) -> None:
        """Takes over the mean that stands in its place, exactly as the others will decode it."""

    def kept(self, chunk: Slice) -> Vector:
        """The average of a chunk that has been kept or taken."""
        return part_of(self._buffers.average, chunk)

    @abstractmethod
    def mean(self, chunk: Slice) -> memoryview:
        """The bytes of a kept mean, for all other members."""

    # The means of the slices of others.

    @abstractmethod
    def mean_target(self, chunk: Slice, scratch: Scratch) -> memoryview:
        """Where the bytes of a mean are to be read."""

    @abstractmethod
    def take_mean(self, chunk: Slice, scratch: Scratch) -> Vector:
        """Puts the mean that has been read into its place in the average, and returns that.

        Raises UnreadableError as `contributed` does.
        """


class PlainCoding(Coding):
    """Float32 as it is: no value is copied on its way between a buffer and a stream."""

    def scratch(self, elements: int) -> Scratch:
        values = np.empty(elements, "<f4")
        return Scratch(values.view(np.uint8), values)

    def size_bytes(self, chunk: Slice) -> int:
        return ELEMENT_BYTES * len(chunk)

    def contribution(self, chunk: Slice, scratch: Scratch) -> memoryview:
        return part_of(self._buffers.snapshot, chunk).data.cast("B")

    def contributed(self, chunk: Slice, scratch: Scratch) -> Vector:
        return scratch.values[: len(chunk)]

    def mean_place(self, chunk: Slice) -> Vector:
        return part_of(self._buffers.average, chunk)

    def keep_mean(self, chunk: Slice) -> None:
        """It stands where it belongs."""

    def mean(self, chunk: Slice) -> memoryview:
        return part_of(self._buffers.average, chunk).data.cast("B")

    def mean_target(self, chunk: Slice, scratch: Scratch) -> memoryview:
        return part_of(self._buffers.average, chunk).data.cast("B")

    def take_mean(self, chunk: Slice, scratch: Scratch) -> Vector:
        return part_of(self._buffers.average, chunk)


class BufferedCoding(Coding):
    """Chunks that are coded. Beside the scratch it holds the coded means of the own slice, since members take them at
    their own pace."""

    def __init__(self, buffers: Buffers, own_chunks: Sequence[Slice], *, coded_bytes: Callable[[int], int]) -> None:
        """coded_bytes: exact length on the wire of so many values."""
        super().__init__(buffers)
        self._coded_bytes = coded_bytes
        longest = max((len(chunk) for chunk in own_chunks), default=0)
        self._mean = np.empty(longest, np.float32)
        self._places: dict[int, Slice] = {}
        end = 0
        for chunk in own_chunks:
            self._places[chunk.start] = Slice(end, end + self.size_bytes(chunk))
            end += self.size_bytes(chunk)
        self._coded_means = np.empty(end, np.uint8)

    def scratch(self, elements: int) -> Scratch:
        return Scratch(np.empty(self._coded_bytes(elements), np.uint8), np.empty(elements, np.float32))

    def size_bytes(self, chunk: Slice) -> int:
        return self._coded_bytes(len(chunk))

    def mean_place(self, chunk: Slice) -> Vector:
        return self._mean[: len(chunk)]

    def mean(self, chunk: Slice) -> memoryview:
        return self._coded_mean(chunk).data

    def mean_target(self, chunk: Slice, scratch: Scratch) -> memoryview:
        return scratch.wire[: self.size_bytes(chunk)].data

    def _coded_mean(self, chunk: Slice) -> Bytes:
        place = self._places[chunk.start]
        return self._coded_means[place.start : place.stop]


class CodecCoding(BufferedCoding):
    """Any codec of `core.codecs`."""

    def __init__(self, buffers: Buffers, codec: Codec, own_chunks: Sequence[Slice]) -> None:
        super().__init__(buffers, own_chunks, coded_bytes=codec.size_bytes)
        self._codec = codec

    def contribution(self, chunk: Slice, scratch: Scratch) -> memoryview:
        wire = scratch.wire[: self.size_bytes(chunk)]
        self._codec.encode(part_of(self._buffers.snapshot, chunk), wire)
        return wire.data

    def contributed(self, chunk: Slice, scratch: Scratch) -> Vector:
        values = scratch.values[: len(chunk)]
        self._codec.decode(scratch.wire[: self.size_bytes(chunk)], values)
        return values

    def keep_mean(self, chunk: Slice) -> None:
        wire = self._coded_mean(chunk)
        self._codec.encode(self._mean[: len(chunk)], wire)
        self._codec.decode(wire, self.kept(chunk))

    def take_mean(self, chunk: Slice, scratch: Scratch) -> Vector:
        self._codec.decode(scratch.wire[: self.size_bytes(chunk)], self.kept(chunk))
        return self.kept(chunk)


def part_of(vector: Vector, chunk: Slice) -> Vector:
    """A view of the chunk's elements."""
    return vector[chunk.start : chunk.stop]
