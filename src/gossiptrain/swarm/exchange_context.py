"""What all parts of one exchange share: its plan, its coding, its streams, and what is measured on them.

Owns what follows from these for every part. Does not know how they are made, nor who sends what when.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from blake3 import blake3

from gossiptrain.config import TimingSettings
from gossiptrain.core.movement import Radii
from gossiptrain.net.transport import Clock, PeerId, Stream
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.coding import Coding, Scratch
from gossiptrain.swarm.exchange_plan import ExchangePlan
from gossiptrain.swarm.near_coding import SpreadEstimate
from gossiptrain.swarm.own_line import OwnLine
from gossiptrain.swarm.silence import SilenceWatch
from gossiptrain.swarm.speeds import SpeedsSeen
from gossiptrain.swarm.timeouts import AdaptiveTimeout, ProgressDeadline, pieces, shared_piece_bytes

LOOK_S = 0.02
LONGEST_HELD_S = 1.0
"""The means of a chunk wait so long at most: they are waited for, and a long contribution takes minutes."""


@dataclass(frozen=True)
class LinkStatistics:
    """What earlier rounds of this peer have taught about links and values, and each further one adds to."""

    adaptive_timeout: AdaptiveTimeout
    own_line: OwnLine
    speeds: SpeedsSeen
    spread: SpreadEstimate


@dataclass(frozen=True)
class ExchangeContext:
    """One attempt as this member sees it."""

    admission: Admission
    plan: ExchangePlan
    coding: Coding
    statistics: LinkStatistics
    silence: SilenceWatch
    stall_s: float
    """How long a link may stand still in this attempt."""
    sending_stall_s: float
    """How long one may on which this peer sends, whose own limit may make it wait: as long, or longer."""
    radii: Radii | None
    """How far contributions may be from the own values."""
    digests: dict[PeerId, blake3]
    """By owner, of the means of its slice as they are on the wire."""
    streams: list[Stream] = field(default_factory=list)
    """All that carry values of this attempt."""
    contributions: dict[PeerId, Stream] = field(default_factory=dict)
    """Those of them on which this member contributes, by the owner of the slice."""
    deadlines: list[ProgressDeadline] = field(default_factory=list)

    @property
    def clock(self) -> Clock:
        """By which all deadlines are measured."""
        return self.admission.transport.clock

    @property
    def timing(self) -> TimingSettings:
        """The settings."""
        return self.admission.timing

    def pieces(self, chunk: memoryview) -> Iterator[memoryview]:
        """What is to move of a chunk within the time that a link may stand still, one after the other."""
        return pieces(chunk, self.piece_bytes)

    @property
    def piece_bytes(self) -> int:
        """Of a piece."""
        members = len(self.plan.attempt.members)
        if self.admission.transport.upload_bytes_per_s < math.inf:
            return shared_piece_bytes(members)
        return self.statistics.adaptive_timeout.piece_bytes(members)

    async def contribution_has_left(self, owner: PeerId) -> None:
        """Waits a little while what this member sends to the slice of another one still waits for a far line.

        What else it has for that one would only take its share: on a far path (see `net/congestion`) twice as many
        streams lose much of what they send.
        """
        stream = self.contributions.get(owner)
        if stream is None:
            return
        until_s = self.clock.now() + min(LONGEST_HELD_S, self.stall_s / 4)
        while stream.waits_for_line() and self.clock.now() < until_s:
            await self.clock.sleep(LOOK_S)

    def add_stream(self, stream: Stream) -> None:
        """One more that carries values of this attempt."""
        stream.share_line(self.plan.streams, self.statistics.own_line.bytes_per_s)
        self.streams.append(stream)

    def scratch(self) -> Scratch:
        """Memory for one stream, of the longest chunk."""
        return self.coding.scratch(self.plan.longest)

    def new_deadline(self) -> ProgressDeadline:
        """For one stream; its longest wait counts."""
        longest_stall_s = self.statistics.adaptive_timeout.longest_stall_s
        self.deadlines.append(ProgressDeadline(self.clock, longest_stall_s=longest_stall_s))
        return self.deadlines[-1]

    @property
    def longest_wait_s(self) -> float:
        """How long any of the streams stood still at most."""
        return max((deadline.longest_wait_s for deadline in self.deadlines), default=0.0)

    @property
    def bytes_sent(self) -> int:
        """On all streams so far."""
        return sum(stream.bytes_sent for stream in self.streams)

    @property
    def bytes_received(self) -> int:
        """On all streams so far."""
        return sum(stream.bytes_received for stream in self.streams)
