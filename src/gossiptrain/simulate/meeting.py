"""The exchange of one group, without a network: the very arithmetic of `swarm.exchange`, member by member.

Owns the order in which contributions are coded, added up and given back, and how many bytes that would be. Does not
know rounds, strategies and models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gossiptrain.config import TimingSettings
from gossiptrain.core.averaging import clipped_weights
from gossiptrain.core.codecs import Codec
from gossiptrain.core.modular import Modular
from gossiptrain.core.movement import Radii
from gossiptrain.core.partition import Slice, chunk_length, slices_by_speed
from gossiptrain.swarm.coding import ELEMENT_BYTES, Buffers, CodecCoding, Coding, PlainCoding, Scratch
from gossiptrain.swarm.near_coding import FallbackCoding, NearCoding, SpreadEstimate
from gossiptrain.swarm.reduction import Clip, Reduction

MOST_CHUNK_ELEMENTS = TimingSettings().chunk_bytes // ELEMENT_BYTES


def meet_plainly(members: Sequence[Buffers], samples: Sequence[int]) -> int:
    """Leaves the weighted mean of all snapshots in every `average`. Returns the bytes that all members send together.

    Float32 as it is gives every element the same mean whoever owns its slice, so one member reduces all of them here.
    Contributions must be finite.
    """
    first = members[0]
    elements = len(first.snapshot)
    chunks = Slice(0, elements).chunks(MOST_CHUNK_ELEMENTS)
    reduction = Reduction(PlainCoding(first), clipped_weights(samples), longest=min(MOST_CHUNK_ELEMENTS, elements))
    for chunk in chunks:
        reduction.add(chunk, [member.snapshot[chunk.start : chunk.stop] for member in members])
    for member in members[1:]:
        np.copyto(member.average, first.average)
    return 2 * (len(members) - 1) * ELEMENT_BYTES * elements


@dataclass(frozen=True)
class SliceOwner:
    """How a member reduces its slice. radii: how far contributions may be from its own values, None: as far as they
    are. lies: whether it gives back its own values for the mean."""

    radii: Radii | None = None
    lies: bool = False


def meet_guarded(members: Sequence[Buffers], samples: Sequence[int], owners: Sequence[SliceOwner]) -> int:
    """The same with each member reducing its own slice in its own way. Returns the bytes that all members send."""
    chunks = _chunks_of(members)
    return _meet([PlainCoding(member) for member in members], chunks, samples, owners=owners)


def meet_coded(members: Sequence[Buffers], samples: Sequence[int], codec: Codec) -> int:
    """The same through a codec that all of them use. Returns the bytes that all members send together."""
    chunks = _chunks_of(members)
    return _meet(
        [CodecCoding(member, codec, own) for member, own in zip(members, chunks, strict=True)], chunks, samples
    )


def meet_nearby(
    members: Sequence[Buffers],
    samples: Sequence[int],
    modular: Modular,
    spreads: Sequence[SpreadEstimate],
    seeds: Sequence[int],
) -> int:
    """The same in int8 or int4. spreads, seeds: of each member, see `near_coding`.

    Raises UnreadableError where two members are further apart than was thought; the averages are then of no use.
    """
    chunks = _chunks_of(members)
    codings = [
        NearCoding(member, modular, own, spread=spread, seed=seed)
        for member, own, spread, seed in zip(members, chunks, spreads, seeds, strict=True)
    ]
    return _meet(codings, chunks, samples)


def meet_far_apart(members: Sequence[Buffers], samples: Sequence[int], spreads: Sequence[SpreadEstimate]) -> int:
    """The same where that was not possible: members learn how far they are apart."""
    chunks = _chunks_of(members)
    codings = [
        FallbackCoding(member, own, spread=spread) for member, own, spread in zip(members, chunks, spreads, strict=True)
    ]
    return _meet(codings, chunks, samples)


def longest_chunk(elements: int) -> int:
    """Of a group of two, whose slices are the longest."""
    return min(chunk_length(elements, owners=2, most=MOST_CHUNK_ELEMENTS), -(-elements // 2))


def _chunks_of(members: Sequence[Buffers]) -> list[list[Slice]]:
    """The chunks of each member's slice."""
    elements = len(members[0].snapshot)
    length = chunk_length(elements, owners=len(members), most=MOST_CHUNK_ELEMENTS)
    return [piece.chunks(length) for piece in slices_by_speed(elements, [1] * len(members))]


def _meet(
    codings: Sequence[Coding],
    chunks: Sequence[Sequence[Slice]],
    samples: Sequence[int],
    *,
    owners: Sequence[SliceOwner] | None = None,
) -> int:
    weights = clipped_weights(samples)
    longest = max(len(chunk) for own in chunks for chunk in own)
    scratches = [coding.scratch(longest) for coding in codings]
    # Every contribution is coded before any mean is kept: what is learnt from means is for the next round.
    told = [_tell_all(codings, chunks, teller, scratches[teller]) for teller in range(len(codings))]
    sent_bytes = sum(map(len, (wire for wires in told for wire in wires.values())))
    for owner, coding in enumerate(codings):
        reduction = _reduction(coding, weights, owner, owners[owner] if owners else SliceOwner(), longest=longest)
        for chunk in chunks[owner]:
            parts = []
            for member in range(len(codings)):
                if member == owner:
                    parts.append(coding.own_part(chunk))
                    continue
                scratch = coding.scratch(len(chunk))
                scratch.wire[:] = np.frombuffer(told[member][owner, chunk.start], np.uint8)
                parts.append(coding.contributed(chunk, scratch))
            reduction.add(chunk, parts)
            for member, taker in enumerate(codings):
                if member != owner:
                    taker.mean_target(chunk, scratches[member])[:] = coding.mean(chunk)
                    taker.take_mean(chunk, scratches[member])
                    sent_bytes += coding.size_bytes(chunk)
    return sent_bytes


def _reduction(coding: Coding, weights: Sequence[float], place: int, owner: SliceOwner, *, longest: int) -> Reduction:
    clip = Clip(place, owner.radii) if owner.radii is not None else None
    own_alone = [float(member == place) for member in range(len(weights))]
    return Reduction(coding, own_alone if owner.lies else weights, longest=longest, clip=clip)


def _tell_all(
    codings: Sequence[Coding], chunks: Sequence[Sequence[Slice]], teller: int, scratch: Scratch
) -> dict[tuple[int, int], bytes]:
    """What a member sends to the owners of all other slices, by owner and start of the chunk."""
    coding = codings[teller]
    return {
        (owner, chunk.start): bytes(coding.contribution(chunk, scratch))
        for owner, own in enumerate(chunks)
        for chunk in own
        if owner != teller
    }
