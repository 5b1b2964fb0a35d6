"""Which chunks of a state are wanted, and who is asked for which."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.state_chunks import MAX_CHUNKS, Chunking, Share, WantedChunks, digest_of, equal_chunks

A, B, C = PeerId("a"), PeerId("b"), PeerId("c")


@given(st.integers(0, 10**12), st.integers(64, 4 << 20))
def test_chunks_cover_every_state_and_are_never_too_many(elements: int, chunk_bytes: int) -> None:
    chunking = Chunking.of(elements, chunk_bytes=chunk_bytes)
    assert chunking.count <= MAX_CHUNKS
    assert chunking.chunk_elements >= chunk_bytes // 4
    if elements:
        last = chunking.chunk(chunking.count - 1)
        assert chunking.chunk(0).start == 0
        assert 0 < len(last) <= chunking.chunk_elements
        assert last.stop == elements


def test_a_digest_changes_with_a_single_bit() -> None:
    values = np.arange(10, dtype=np.float32)
    before = digest_of(values)
    values.view(np.uint32)[3] ^= 1
    assert digest_of(values) != before
    assert equal_chunks([before, b"x"], [before, b"y"]) == {0}


def test_each_chunk_is_asked_for_once_from_both_ends() -> None:
    async def scenario() -> None:
        wanted = WantedChunks(range(4))
        first, other = Share(A, range(4), from_the_end=True), Share(B, range(4))
        asked = [wanted.next_for(share, idle=False) for share in (first, other, first, other, first, other)]
        assert asked == [3, 0, 2, 1, None, None]

    asyncio.run(scenario())


def test_a_donor_is_asked_only_for_what_it_has() -> None:
    async def scenario() -> None:
        wanted = WantedChunks(range(4))
        share = Share(B, frozenset({1, 3}))
        assert [wanted.next_for(share, idle=True) for _ in range(3)] == [1, 3, None]
        assert wanted.arrived(1)
        assert wanted.more_for(share)
        assert wanted.arrived(3)
        assert not wanted.more_for(share)
        assert not wanted.all_here

    asyncio.run(scenario())


def test_who_has_nothing_to_do_is_asked_for_what_another_one_would_send_last_and_only_once() -> None:
    async def scenario() -> None:
        wanted = WantedChunks(range(2))
        slow, fast, third = (Share(donor, range(2)) for donor in (A, B, C))
        assert [wanted.next_for(slow, idle=False) for _ in range(2)] == [0, 1]
        assert wanted.next_for(fast, idle=False) is None
        assert wanted.next_for(slow, idle=True) is None
        assert wanted.next_for(fast, idle=True) == 1
        assert wanted.next_for(third, idle=True) == 0
        assert wanted.next_for(third, idle=True) is None
        assert wanted.arrived(1)
        assert not wanted.arrived(1), "it is here already"

    asyncio.run(scenario())


def test_what_a_donor_that_is_given_up_was_asked_for_is_asked_of_others() -> None:
    async def scenario() -> None:
        wanted = WantedChunks(range(3))
        gone, other = Share(A, range(3)), Share(B, range(3))
        assert [wanted.next_for(gone, idle=False) for _ in range(3)] == [0, 1, 2]
        assert wanted.next_for(other, idle=True) == 2
        changed = asyncio.ensure_future(wanted.changed())
        await asyncio.sleep(0)
        wanted.give_up(A)
        await changed
        assert [wanted.next_for(other, idle=False) for _ in range(3)] == [0, 1, None]
        for index in range(3):
            assert wanted.arrived(index)
        assert wanted.all_here

    asyncio.run(scenario())


@pytest.mark.parametrize("count", [0, 1, 5])
@given(order=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["ask", "arrive", "die"])), max_size=60))
def test_whatever_donors_do_every_chunk_is_here_in_the_end_and_counted_once(
    count: int, order: list[tuple[str, str]]
) -> None:
    async def scenario() -> None:
        wanted, here = WantedChunks(range(count)), []
        on_way: dict[str, list[int]] = {"a": [], "b": [], "c": []}

        def step(name: str, what: str) -> None:
            share = Share(PeerId(name), range(count), from_the_end=name == "a")
            if what == "ask" and (index := wanted.next_for(share, idle=not on_way[name])) is not None:
                on_way[name].append(index)
            elif what == "arrive" and on_way[name]:
                index = on_way[name].pop(0)
                here.extend([index] if wanted.arrived(index) else [])
            elif what == "die":
                on_way[name].clear()
                wanted.give_up(PeerId(name))

        for name, what in order:
            step(name, what)
        for _ in range(3 * count + 3):
            step("a", "die")
            step("b", "die")
            step("c", "ask")
            step("c", "arrive")
        assert wanted.all_here
        assert sorted(here) == list(range(count))

    asyncio.run(scenario())
