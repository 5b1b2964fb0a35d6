"""Which coding an attempt uses, and what stands in for it where one has failed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gossiptrain.config import CodecName
from gossiptrain.core.partition import Slice
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.attempt import Attempt
from gossiptrain.swarm.coding import Buffers, CodecCoding, Coding, PlainCoding
from gossiptrain.swarm.exchange import coding_for
from gossiptrain.swarm.exchange_plan import ExchangePlan
from gossiptrain.swarm.near_coding import FallbackCoding, NearCoding, SpreadEstimate

ELEMENTS = 1024
FIRST = Attempt("ab", 0, (PeerId("a"), PeerId("b")), samples=(1, 1), speeds=(1, 1))


def spread() -> SpreadEstimate:
    """Of members that were 1 apart everywhere."""
    estimate = SpreadEstimate(ELEMENTS)
    estimate.note(Slice(0, ELEMENTS), np.ones_like(estimate.max_deviation(Slice(0, ELEMENTS), room=1.0)))
    return estimate


def chosen(codec: CodecName, *, number: int, estimate: SpreadEstimate) -> Coding:
    attempt = replace(FIRST, codec=codec, number=number)
    plan = ExchangePlan.of(attempt, PeerId("a"), elements=ELEMENTS, chunk_elements=256)
    buffers = Buffers(np.zeros(ELEMENTS, np.float32), np.zeros(ELEMENTS, np.float32))
    return coding_for(plan, buffers, spread=estimate)


@pytest.mark.parametrize(
    ("codec", "kind"),
    [
        ("fp32", PlainCoding),
        ("fp16", CodecCoding),
        ("bf16", CodecCoding),
        ("int8", NearCoding),
        ("int4", NearCoding),
    ],
)
def test_a_first_attempt_is_coded_as_the_group_wants_it(codec: CodecName, kind: type[Coding]) -> None:
    assert type(chosen(codec, number=0, estimate=spread())) is kind


@pytest.mark.parametrize(("codec", "bytes_in_all"), [("int8", 256), ("int4", 128)])
def test_int8_and_int4_take_a_byte_for_each_value_and_half_of_one(codec: CodecName, bytes_in_all: int) -> None:
    assert chosen(codec, number=0, estimate=spread()).size_bytes(Slice(0, 256)) == bytes_in_all + 12


@pytest.mark.parametrize("codec", ["int8", "int4"])
def test_after_a_failed_attempt_values_travel_in_half_the_bytes_and_more_room_is_left_for_the_next(
    codec: CodecName,
) -> None:
    estimate, chunk = spread(), Slice(0, 256)
    before = estimate.max_deviation(chunk, room=1.0)
    second = chosen(codec, number=1, estimate=estimate)
    assert type(second) is FallbackCoding
    assert second.size_bytes(chunk) == 2 * len(chunk)
    np.testing.assert_array_equal(estimate.max_deviation(chunk, room=1.0), 2 * before)


def test_other_codings_leave_the_estimate_as_it_is() -> None:
    estimate, chunk = spread(), Slice(0, 256)
    before = estimate.max_deviation(chunk, room=1.0)
    for codec in ("fp32", "fp16"):
        chosen(codec, number=1, estimate=estimate)
    np.testing.assert_array_equal(estimate.max_deviation(chunk, room=1.0), before)
