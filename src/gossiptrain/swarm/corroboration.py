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
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from gossiptrain.core.averaging import Vector, squared_norm
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.state_chunks import Chunking

MOST_ASKED = 3
NEAR = 0.25
FAR = 0.5
"""Distances, relative to the size of the values."""

Ask: TypeAlias = Callable[[PeerId, int], Awaitable[Vector | None]]
"""A peer for the chunk of that index of its own state; None: it does not answer, and so says nothing."""


@dataclass(frozen=True)
class Comparison:
    """What is compared: so many values at the beginning of the state, which are its parameters. rng: draws whom is
    asked, and for which chunk, so that nobody knows beforehand what will be looked at."""

    parameters: int
    rng: random.Random

    async def refutes(self, given: Vector, chunking: Chunking, others: Sequence[PeerId], *, ask: Ask) -> bool:
        """Whether others say something else than `given`, a state that is cut by `chunking`."""
        asked = self.rng.sample(others, min(MOST_ASKED, len(others)))
        index = self.rng.randrange(-(-self.parameters // chunking.chunk_elements))
        chunk = chunking.chunk(index)
        stop = min(chunk.stop, self.parameters)
        answers = await asyncio.gather(*(ask(peer, index) for peer in asked))
        found = [answer[: stop - chunk.start] for answer in answers if answer is not None]
        return is_unlike(given[chunk.start : stop], found)


def is_unlike(given: Vector, others: Sequence[Vector]) -> bool:
    """Whether two of the others are near each other, and what was given is far from both."""
    for one, other in itertools.combinations(others, 2):
        size = squared_norm(one)
        distances = [squared_norm(np.subtract(given, each)) for each in (one, other)]
        if squared_norm(np.subtract(one, other)) <= NEAR**2 * size and min(distances) > FAR**2 * size:
            return True
    return False
