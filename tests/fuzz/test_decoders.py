"""No input harms a decoder: some hundreds for each, always the same. `make fuzz` tries as many as one likes."""

from __future__ import annotations

import pytest

from tests.fuzz.decoder import LIMIT_GROWTH_BYTES, Tally
from tests.fuzz.decoders import NOT_HOSTILE, PACKAGE, all_decoders, files_that_decode
from tests.fuzz.mutation import Mutator

INPUTS = 150


def test_none_is_forgotten() -> None:
    about = {room for decoder in all_decoders().values() for room in decoder.rooms}
    assert all((PACKAGE / room).is_file() for room in (*about, *NOT_HOSTILE))
    assert files_that_decode() - about - set(NOT_HOSTILE) == set(), (
        "these files take bytes apart: give each a decoder in tests/fuzz, or a reason in NOT_HOSTILE"
    )
    assert set(NOT_HOSTILE) - files_that_decode() == set(), "these take nothing apart any more"


@pytest.mark.parametrize("name", all_decoders())
def test_it_takes_what_is_valid_and_refuses_all_else_in_its_own_words(name: str) -> None:
    decoder, tally = all_decoders()[name], Tally()
    for data in decoder.seeds:
        decoder.decode(data)
        assert len(data) <= decoder.limit_bytes or name == "frames"
    for data in Mutator(decoder.seeds, limit_bytes=decoder.limit_bytes, seed=1).inputs(INPUTS):
        assert tally.note(decoder, data), f"{tally.failures}: make fuzz ARGS='--decoder {name} --blind --seed 1'"
    assert tally.inputs == INPUTS
    assert tally.growth_bytes < LIMIT_GROWTH_BYTES
