"""Whether the parameters that a joiner was given are like those that others hold.

Owns whom it asks, what they are compared in, and when they speak against it. A donor may say of itself whatever it
likes, so one that lies could otherwise have joiners begin with anything. Does not know how the parameters have come,
nor what follows where they are unlike.

Peers of a swarm never hold the same, but nearly: all began with the parameters of one of them, and averages keep them
together. So it takes two others that are near each other, and both far from what was given.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import numpy as np

from gossiptrain.core.averaging import Vector, squared_norm
from gossiptrain.net.transport import Clock, PeerId
from gossiptrain.swarm.state_chunks import Chunking
from gossiptrain.swarm.state_source import StateSource

MOST_ASKED = 3
NEAR = 0.25
FAR = 0.5
"""Distances, relative to the size of the values."""


@dataclass(frozen=True)
class Comparison:
    """What is compared: so many values at the beginning of the state, which are its parameters. rng: draws whom is
    asked, and for which chunk, so that nobody knows beforehand what will be looked at."""

    parameters: int
    rng: random.Random


class Corroboration:
    """Of one download."""

    def __init__(
        self,
        given: Vector,
        chunking: Chunking,
        comparison: Comparison,
        *,
        open_source: Callable[[PeerId], AbstractAsyncContextManager[StateSource]],
    ) -> None:
        """given: the state, cut by `chunking`."""
        self._given = given
        self._chunking = chunking
        self._parameters = comparison.parameters
        self._rng = comparison.rng
        self._open_source = open_source

    async def is_refuted(self, others: Sequence[PeerId], clock: Clock, *, within_s: float) -> bool:
        """Whether others say something else. Those that do not answer in time say nothing."""
        asked = self._rng.sample(others, min(MOST_ASKED, len(others)))
        index = self._rng.randrange(-(-self._parameters // self._chunking.chunk_elements))
        chunk = self._chunking.chunk(index)
        stop = min(chunk.stop, self._parameters)
        answers = await asyncio.gather(*(self._ask(peer, index, clock, within_s) for peer in asked))
        found = [answer[: stop - chunk.start] for answer in answers if answer is not None]
        return is_unlike(self._given[chunk.start : stop], found)

    async def _ask(self, peer: PeerId, index: int, clock: Clock, within_s: float) -> Vector | None:
        try:
            async with clock.timeout(within_s), self._open_source(peer) as source:
                await source.ask(index)
                _, values = await source.receive()
                return values.copy()
        except (ConnectionError, TimeoutError):
            return None


def is_unlike(given: Vector, others: Sequence[Vector]) -> bool:
    """Whether two of the others are near each other, and what was given is far from both."""
    for one, other in itertools.combinations(others, 2):
        size = squared_norm(one)
        distances = [squared_norm(np.subtract(given, each)) for each in (one, other)]
        if squared_norm(np.subtract(one, other)) <= NEAR**2 * size and min(distances) > FAR**2 * size:
            return True
    return False
