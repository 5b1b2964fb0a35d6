"""What all parts of one exchange share: its plan, its coding, its streams, and what is measured on them.

Owns how these are made for an attempt, with the choice of a coding and what stands in where an attempt has failed; and
the digest of the average. Does not know who sends what when, nor how a coding works.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from blake3 import blake3

from gossiptrain.config import TimingSettings
from gossiptrain.core.codecs import codec_named
from gossiptrain.core.modular import Modular
from gossiptrain.net.transport import Clock, PeerId, Stream
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.attempt import Attempt
from gossiptrain.swarm.coding import ELEMENT_BYTES, Buffers, CodecCoding, Coding, PlainCoding, Scratch
from gossiptrain.swarm.exchange_plan import ExchangePlan
from gossiptrain.swarm.near_coding import FALLBACK, NearCoding, SpreadEstimate
from gossiptrain.swarm.silence import SilenceWatch
from gossiptrain.swarm.speeds import SpeedsSeen
from gossiptrain.swarm.timeouts import AdaptiveTimeout, ProgressDeadline


@dataclass(frozen=True)
class LinkStatistics:
    """What earlier rounds of this peer have taught about links, and each further one adds to."""

    adaptive_timeout: AdaptiveTimeout
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
    digests: dict[PeerId, blake3]
    """By owner, of the means of its slice as they are on the wire."""
    streams: list[Stream] = field(default_factory=list)
    """All that carry values of this attempt."""
    deadlines: list[ProgressDeadline] = field(default_factory=list)

    @classmethod
    def of(
        cls, admission: Admission, attempt: Attempt, buffers: Buffers, *, statistics: LinkStatistics
    ) -> ExchangeContext:
        """Cuts the vector among the members and chooses the coding."""
        chunk_elements = admission.timing.chunk_bytes // ELEMENT_BYTES
        me = admission.transport.peer_id
        plan = ExchangePlan.of(attempt, me, elements=len(buffers.snapshot), chunk_elements=chunk_elements)
        expected = {peer: 2 * (bool(plan.own_chunks) + bool(plan.chunks[peer])) for peer in plan.others}
        return cls(
            admission,
            plan,
            coding_for(plan, buffers, spread=statistics.spread),
            statistics,
            SilenceWatch(admission, attempt, expected),
            stall_s=statistics.adaptive_timeout.stall_s,
            digests={peer: blake3() for peer in attempt.members},
        )

    @property
    def clock(self) -> Clock:
        """By which all deadlines are measured."""
        return self.admission.transport.clock

    @property
    def timing(self) -> TimingSettings:
        """The settings."""
        return self.admission.timing

    def scratch(self) -> Scratch:
        """Memory for one stream, of the longest chunk."""
        return self.coding.scratch(self.plan.longest)

    def new_deadline(self) -> ProgressDeadline:
        """For one stream; its longest wait counts."""
        self.deadlines.append(ProgressDeadline(self.clock))
        return self.deadlines[-1]

    @property
    def longest_wait_s(self) -> float:
        """How long any of the streams stood still at most."""
        return max((deadline.longest_wait_s for deadline in self.deadlines), default=0.0)

    @property
    def bytes_sent(self) -> int:
        """On all streams so far."""
        return sum(stream.bytes_sent for stream in self.streams)

    def digest(self) -> str:
        """BLAKE3 over the digests of all slices, in the order of the members; one for all that hold one average."""
        whole = blake3()
        for peer in self.plan.attempt.members:
            whole.update(self.digests[peer].digest())
        return whole.hexdigest()


def coding_for(plan: ExchangePlan, buffers: Buffers, *, spread: SpreadEstimate) -> Coding:
    """The coding of an attempt for one member. spread: widened where an attempt by it has failed."""
    name, attempt = plan.attempt.codec, plan.attempt
    if name == "fp32":
        return PlainCoding(buffers)
    if name == "int8" and attempt.number == 0:
        place = attempt.members.index(plan.me)
        seed = int.from_bytes(blake3(f"{attempt.round_id}/{place}".encode()).digest(length=8), "big")
        return NearCoding(buffers, Modular(plan.longest), plan.own_chunks, spread=spread, seed=seed)
    if name == "int8":
        # Whatever made the first attempt fail, members that were too far apart would make this one fail, too.
        spread.widen()
        name = FALLBACK
    return CodecCoding(buffers, codec_named(name, longest_elements=plan.longest), plan.own_chunks)
