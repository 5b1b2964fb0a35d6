"""The exchange of one group, without a network: the very arithmetic of `swarm.exchange`, member by member.

Owns the order in which contributions are coded, added up and given back, and how many bytes that would be. Does not
know rounds, strategies and models.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gossiptrain.config import TimingSettings
from gossiptrain.core.averaging import clipped_weights
from gossiptrain.core.codecs import Codec
from gossiptrain.core.partition import Slice, slices_by_speed
from gossiptrain.swarm.coding import ELEMENT_BYTES, Buffers, CodecCoding, PlainCoding, Scratch
from gossiptrain.swarm.reduction import Reduction

CHUNK_ELEMENTS = TimingSettings().chunk_bytes // ELEMENT_BYTES


def meet_plainly(members: Sequence[Buffers], samples: Sequence[int]) -> int:
    """Leaves the weighted mean of all snapshots in every `average`. Returns the bytes that all members send together.

    Float32 as it is gives every element the same mean whoever owns its slice, so one member reduces all of them here.
    Contributions must be finite.
    """
    first = members[0]
    elements = len(first.snapshot)
    chunks = Slice(0, elements).chunks(CHUNK_ELEMENTS)
    reduction = Reduction(PlainCoding(first), clipped_weights(samples), longest=min(CHUNK_ELEMENTS, elements))
    for chunk in chunks:
        reduction.add(chunk, [member.snapshot[chunk.start : chunk.stop] for member in members])
    for member in members[1:]:
        np.copyto(member.average, first.average)
    return 2 * (len(members) - 1) * ELEMENT_BYTES * elements


def meet_coded(
    members: Sequence[Buffers], samples: Sequence[int], *, codecs: Sequence[Codec], differences: bool
) -> int:
    """The same through codecs, one for each member. Returns the bytes that all members send together.

    differences: values are told relative to `average`, which must then be the same for all members.
    """
    weights = clipped_weights(samples)
    slices = slices_by_speed(len(members[0].snapshot), [1] * len(members))
    chunks = [piece.chunks(CHUNK_ELEMENTS) for piece in slices]
    longest = min(CHUNK_ELEMENTS, max(map(len, slices)))
    codings = [
        CodecCoding(member, codec, own, differences=differences)
        for member, codec, own in zip(members, codecs, chunks, strict=True)
    ]
    scratches = [coding.scratch(longest) for coding in codings]
    # Every contribution is told before any mean is kept: a member reads its last average while it tells.
    told = [_tell_all(codings, chunks, teller, scratches[teller]) for teller in range(len(members))]
    sent_bytes = sum(map(len, (wire for wires in told for wire in wires.values())))
    for owner, coding in enumerate(codings):
        reduction = Reduction(coding, weights, longest=longest)
        for chunk in chunks[owner]:
            parts = []
            for member in range(len(members)):
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


def _tell_all(
    codings: Sequence[CodecCoding], chunks: Sequence[Sequence[Slice]], teller: int, scratch: Scratch
) -> dict[tuple[int, int], bytes]:
    """What a member sends to the owners of all other slices, by owner and start of the chunk."""
    coding = codings[teller]
    return {
        (owner, chunk.start): bytes(coding.contribution(chunk, scratch))
        for owner, own in enumerate(chunks)
        for chunk in own
        if owner != teller
    }
