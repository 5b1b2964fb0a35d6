"""How far averages have moved a peer of late, part by part, and how far is too far.

Owns the history of one peer and what is usual by it. What counts is how far it has been moved, and how far it has come
by itself: the members of a round have learnt about as much as this one has, from the same beginning, so their average
is about as far away, and keeps all of the own values but for a part of what was learnt. Does not know values, models or
members.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gossiptrain.config import GuardName
from gossiptrain.core.fragments import Fragments
from gossiptrain.core.partition import Slice

Distances = npt.NDArray[np.float64]
"""Of two vectors from each other: one for each part of a model, [parts]."""

PART_ELEMENTS = 256
MOST_PARTS = 1024
"""Into which a model is cut beside its borders between tensors."""
REMEMBERED = 21
"""Averages by whose median is told what is usual: a few bad ones do not move it."""
LEARNT_SHARE = 4.0
"""Times the usual own way that the history counts at most, and what was learnt: small pushes, each a little larger,
lead nowhere, and neither do many rounds in a row that were all refused."""
WHOLE_LIMIT = 2.0
"""Times the usual distance at which an average is too far away."""
PART_LIMIT = 4.0
"""The same for a single part, whose distances vary more."""
LARGEST_LOSS = 0.15
"""Share of the own values that an average may lose beyond what was learnt. Where nobody lies it is a few percent; where
one member of four brings the negative of its values it is a half."""
PART_LEARNT = 3.0
"""Times what was learnt counts in a single part: where data are unlike, one member learns more there than another."""
LARGEST_PACE: dict[GuardName, float] = {"off": 1.0, "result": 64.0, "clip": 4.0}
"""A group that has seen so many times as many samples may be so many times as far away, and no further: a laptop meets
graphics cards, but where strangers take part, what they say of themselves counts for little."""

MOVED_REACH = 2.0
"""Times as far as averages usually moved this peer a contribution may be from the own values before it is clipped: in
large groups members are 1.4 times as far from each other as from their mean, in pairs twice as far."""
LEARNT_REACH = 0.75
"""The least of it, relative to the own way: else contributions that are clipped would move peers less and less."""


@dataclass(frozen=True)
class Way:
    """From the own values s to an average m, part by part [parts].

    moved: |m - s|. back: <s - m, s>, how far it leads against the own values. own: |s| squared.
    """

    moved: Distances
    back: Distances
    own: Distances

    @property
    def kept(self) -> float:
        """<m, s> / |s| squared, of all parts together: 1 where the average keeps all of the own values."""
        own = float(self.own.sum())
        return 1 - float(self.back.sum()) / own if own > 0 else 1.0


@dataclass(frozen=True)
class Usual:
    """What is usual for one round.

    each: distance of each part. whole: of all together. wide: factor on limits. reach: how far the contribution of a
    member may be from the own one, in each part, before it is clipped. learnt: how far this peer has come by itself, in
    each part: of what only it has learnt an average keeps a part, so it may lead back by as much.
    """

    each: Distances
    whole: float
    wide: float
    reach: Distances
    learnt: Distances

    def allows(self, way: Way) -> bool:
        """Whether an average is to be taken: it is not too far away, as a whole and in each part, and keeps enough of
        the own values as a whole."""
        if length(way.moved) > WHOLE_LIMIT * self.wide * self.whole:
            return False
        if (way.moved > PART_LIMIT * self.wide * self.each).any():
            return False
        learnt = self.wide * length(self.learnt)
        return float(way.back.sum()) <= LARGEST_LOSS * float(way.own.sum()) + learnt**2

    def shares(self, way: Way) -> Distances:
        """How much of its way each part may go, [parts]: none where that is too far or keeps too little, and where the
        others are too far together all of them less."""
        is_far = way.moved > PART_LIMIT * self.wide * self.each
        leads_back = way.back > LARGEST_LOSS * way.own + (PART_LEARNT * self.wide * self.learnt) ** 2
        allowed = np.where(is_far | leads_back, 0.0, 1.0)
        whole, limit = length(allowed * way.moved), WHOLE_LIMIT * self.wide * self.whole
        return allowed * (limit / whole) if whole > limit else allowed

    def times(self, moved: Distances) -> float:
        """How many times as far as usual."""
        return length(moved) / self.whole


class Radii:
    """How far contributions may be from the own values, for any part of the flat vector."""

    def __init__(self, lengths: Sequence[int], each: Distances) -> None:
        """lengths: elements of each part. each: its radius; a piece of it has its share of the square."""
        self._ends = np.concatenate([[0], np.cumsum(lengths)])
        self._squares = np.concatenate([[0.0], np.cumsum(np.square(each))])

    def of(self, chunk: Slice) -> float:
        """That of a chunk."""
        before, after = np.interp((chunk.start, chunk.stop), self._ends, self._squares)
        return float(np.sqrt(max(0.0, after - before)))


class MovementHistory:
    """Of one peer, and of one fragment of its model."""

    def __init__(self, lengths: Sequence[int]) -> None:
        """lengths: elements of each part."""
        self._shares = np.sqrt(np.asarray(lengths, np.float64) / max(1, sum(lengths)))
        self._moved: deque[Distances] = deque(maxlen=REMEMBERED)
        self._ways: deque[Distances] = deque(maxlen=REMEMBERED)

    def usual(self, learnt: Distances, guard: GuardName, *, pace: float = 1.0) -> Usual | None:
        """How far an average usually is. None where nothing was learnt and no average has moved anything yet.

        learnt: how far this peer has come since the last average that it took. guard: bounds the pace. pace: samples of
        a usual member of the group, relative to the own ones. Without a history what was learnt stands for it.
        """
        past = np.median(self._moved, axis=0) if self._moved else np.zeros(len(self._shares) + 1)
        past, own = self._bounded(past), self._bounded(_with_whole(learnt))
        usual = np.maximum(past, own)
        if usual[-1] <= 0:
            return None
        reach = np.maximum(MOVED_REACH * past, LEARNT_REACH * own)
        wide = min(max(pace, 1.0), LARGEST_PACE[guard])
        return Usual(self._by_part(usual), float(usual[-1]), wide, self._by_part(reach), own[:-1])

    def offer(self, way: Distances) -> None:
        """A round begins, before which this peer has come so far since the one before."""
        if way.any():
            self._ways.append(_with_whole(way))

    def note(self, moved: Distances) -> None:
        """An average was taken. Where there was no way to go, nothing is learnt of how far is usual."""
        if moved.any():
            self._moved.append(_with_whole(moved))

    def _by_part(self, distances: Distances) -> Distances:
        """A part that has hardly moved may move as far as its share of the elements has it."""
        return np.asarray(np.maximum(distances[:-1], distances[-1] * self._shares), np.float64)

    def _bounded(self, distances: Distances) -> Distances:
        """No further than a few usual ways of this peer."""
        return np.minimum(distances, LEARNT_SHARE * np.median(self._ways, axis=0)) if self._ways else distances


def parts_of(tensors: Sequence[int]) -> list[int]:
    """The elements of all parts of a flat vector of tensors of these lengths.

    Large tensors are cut, so that a slice whose owner has lied can be told from the rest.
    """
    longest = max(PART_ELEMENTS, -(-sum(tensors) // MOST_PARTS))
    return [len(part) for elements in tensors for part in Slice(0, elements).chunks(longest)]


def parts_by_fragment(tensors: Sequence[int], fragments: Fragments) -> tuple[tuple[int, ...], ...]:
    """The same for each fragment of a model of these tensors."""
    own: list[list[int]] = [[] for _ in fragments.lengths]
    start = 0
    for elements in tensors:
        own[fragments.of_element(start)].append(elements)
        start += elements
    return tuple(tuple(parts_of(lengths)) for lengths in own)


def length(distances: Distances) -> float:
    """Of all parts together."""
    return float(np.sqrt(np.dot(distances, distances)))


def _with_whole(distances: Distances) -> Distances:
    return np.append(distances, length(distances))
