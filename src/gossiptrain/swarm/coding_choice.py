"""Which coding of values an attempt uses.

Owns the choice and what stands in where an attempt has failed. Does not know how a coding works, nor streams.
"""

from __future__ import annotations

from blake3 import blake3

from gossiptrain.core.codecs import codec_named
from gossiptrain.core.modular import Modular
from gossiptrain.swarm.coding import Buffers, CodecCoding, Coding, PlainCoding
from gossiptrain.swarm.exchange_plan import ExchangePlan
from gossiptrain.swarm.near_coding import FALLBACK, NearCoding, SpreadEstimate


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
