"""The average of the last round that this peer has committed, for as long as it lies where the round has left it.

Owns what is known of it, and how long it is a good beginning for a joiner: every member of its group holds bitwise the
same, whatever each has learnt since. Does not know how it travels, nor what strategies make of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gossiptrain.core.averaging import Vector
from gossiptrain.net.transport import Clock, PeerId

GOOD_FOR_INTERVALS = 2
"""A peer that has made no round for twice as long as it usually takes may have learnt much since, or be alone."""
LEAST_GOOD_S = 10.0
"""So short a time of learning is not worth disturbing a trainer, however quickly rounds follow each other."""


@dataclass(frozen=True, eq=False)
class HeldAverage:
    """An average that all members of a group hold."""

    digest: str
    """All that hold it agree on this; the members of a round have compared it before they committed."""
    members: tuple[PeerId, ...]
    step: int
    """Inner steps that this peer had made when it brought its own part."""
    vector: Vector
    """Where it lies. The next exchange writes over it."""


class LastAverage:
    """What one peer holds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: HeldAverage | None = None
        self._committed_s = clock.now()
        """When the last round committed; before the first one, when this peer began."""
        self._good_until_s = 0.0
        self._nothing_writes = asyncio.Event()
        self._nothing_writes.set()

    def now(self) -> HeldAverage | None:
        """What can be given now; None where there is nothing, or nothing that is a good beginning."""
        return self._held if self._clock.now() <= self._good_until_s else None

    def still(self, held: HeldAverage) -> bool:
        """Whether its vector still holds it."""
        return held is self._held

    @contextmanager
    def written_over(self) -> Iterator[None]:
        """While an exchange writes where the average lies."""
        self._held = None
        self._nothing_writes.clear()
        try:
            yield
        finally:
            self._nothing_writes.set()

    def note(self, held: HeldAverage) -> None:
        """A round has committed."""
        now_s = self._clock.now()
        self._good_until_s = now_s + max(LEAST_GOOD_S, GOOD_FOR_INTERVALS * (now_s - self._committed_s))
        self._committed_s = now_s
        self._held = held

    def forget(self) -> None:
        """It is not what this peer holds after all."""
        self._held = None

    async def settle(self, *, within_s: float) -> None:
        """Until no exchange is under way, and no longer than this."""
        try:
            async with self._clock.timeout(within_s):
                await self._nothing_writes.wait()
        except TimeoutError:
            return
