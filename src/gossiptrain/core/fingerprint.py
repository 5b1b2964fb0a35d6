"""What two peers must have in common to average with each other.

Owns the description of a run and the comparison of two of them. Knows a model only as names, shapes and types.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gossiptrain.config import GossipSettings

PROTOCOL_VERSION = 6
"""Raised with every change of what travels between peers."""


@dataclass(frozen=True)
class TensorSpec:
    """One tensor that is averaged."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def elements(self) -> int:
        """Number of elements."""
        product = 1
        for size in self.shape:
            product *= size
        return product


@dataclass(frozen=True)
class CommonSettings:
    """Settings, by their names, that have to be equal for groups to come about.

    A peer refuses groups below its minimum, whoever forms them; ranks who coordinates a round by the seed; takes its
    place in a cycle of rounds by the grouping; brings the fragment whose turn it is; and trusts others to clip what
    strangers bring, and to weigh all alike, where it does so itself. All else may differ: the
    largest group is up to whoever coordinates, the codec is agreed upon by each group, waits and paces are everybody's
    own.
    """

    gossip_min_group_size: int = 2
    grouping: str = "auto"
    seed: int = 0
    fragments: int = 1
    guard: str = "off"

    @classmethod
    def of(cls, settings: GossipSettings) -> CommonSettings:
        """Those of one peer."""
        return cls(
            settings.gossip_min_group_size, settings.grouping, settings.seed, settings.fragments or 1, settings.guard
        )


@dataclass(frozen=True)
class RunFingerprint:
    """Identifies a run: two peers may average only where all fields are equal."""

    protocol: int
    run: str
    task: str
    model: str
    """Digest of the averaged tensors' names, shapes and types, and of the frozen tensors' values."""
    elements: int
    """Length of the flat vector."""
    strategy: str = ""
    """What is done with an average, with its settings."""
    common: CommonSettings = CommonSettings()
    """Compared when peers meet, and no part of the run's key: whoever sets them otherwise is to hear of it."""

    @property
    def key(self) -> str:
        """A short name of the run for the directory; peers of different runs never share it."""
        parts = (self.protocol, self.run, self.task, self.model, self.elements, self.strategy)
        text = "\0".join(map(str, parts))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def difference(self, other: RunFingerprint) -> str | None:
        """The fields in which `other` differs, in words, or None where both are equal."""
        return "; ".join(self._differences(other)) or None

    def _differences(self, other: RunFingerprint) -> Iterator[str]:
        if self.protocol != other.protocol:
            # What else differs may only be what the other version calls otherwise.
            yield f"the protocol version differs: {self.protocol} here, {other.protocol} there"
            return
        if self.run != other.run:
            yield f"the run differs: {self.run!r} here, {other.run!r} there"
        if self.task != other.task:
            yield f"the task differs: {self.task!r} here, {other.task!r} there"
        if self.elements != other.elements:
            yield f"the model differs: {self.elements:,} averaged values here, {other.elements:,} there"
        elif self.model != other.model:
            yield "the model differs: as many values, but other tensor names, shapes, types or frozen weights"
        if self.strategy != other.strategy:
            yield f"the strategy differs: {self.strategy!r} here, {other.strategy!r} there"
        for name, here in vars(self.common).items():
            there = getattr(other.common, name)
            if here != there:
                yield f"the setting {name} differs: {here} here, {there} there"


def model_digest(averaged: Iterable[TensorSpec], frozen: Iterable[tuple[TensorSpec, bytes]] = ()) -> str:
    """SHA-256 over the tensors, in their order: their description and, for the frozen ones, a digest of their bytes."""
    digest = hashlib.sha256()
    for spec in averaged:
        digest.update(_line("averaged", spec))
    for spec, content_digest in frozen:
        digest.update(_line("frozen", spec))
        digest.update(content_digest)
    return digest.hexdigest()


def _line(kind: str, spec: TensorSpec) -> bytes:
    return f"{kind}\0{spec.name}\0{spec.shape}\0{spec.dtype}\n".encode()
