"""Links of different speed: what a peer sees of them, what a group makes of it, and what it gains."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.net.transport import PeerId
from gossiptrain.net.virtual.network import VirtualNetwork
from gossiptrain.swarm.round import RoundResult
from gossiptrain.swarm.speeds import FULL_SPEED, REMEMBERED_PEERS, SpeedsSeen, agreed_speeds
from tests.swarm import swarms
from tests.swarm.swarms import TIMING, swarm_of
from tests.transports import MakeTransport, run_on

A, B, C, D = (PeerId(name) for name in "abcd")
EQUAL = {B: 150, C: 150, D: 150}


def seen_after(waits_s: dict[PeerId, float], *, rounds: int = 40) -> dict[PeerId, float]:
    seen = SpeedsSeen()
    for _ in range(rounds):
        seen.note(dict.fromkeys(waits_s, 150), waits_s, whole_s=1.0)
    return seen.relative()


def test_peers_that_are_waited_for_alike_are_equally_fast() -> None:
    assert seen_after({B: 0.3, C: 0.3, D: 0.3}) == pytest.approx({B: 1.0, C: 1.0, D: 1.0})


def test_the_one_that_is_waited_for_all_the_time_is_slow() -> None:
    speeds = seen_after({B: 0.01, C: 0.9, D: 0.02})
    assert speeds[B] == speeds[D] == 1.0
    assert speeds[C] < 0.1


def test_one_strange_round_changes_little() -> None:
    seen = SpeedsSeen()
    for _ in range(10):
        seen.note(EQUAL, {B: 0.3, C: 0.3, D: 0.3}, whole_s=1.0)
    seen.note(EQUAL, {B: 0.0, C: 1.0, D: 0.0}, whole_s=1.0)
    assert agreed_speeds([A, B, C], {A: seen.relative(), B: seen.relative()}) == (FULL_SPEED,) * 3


def test_a_link_that_has_become_fast_counts_as_fast_again() -> None:
    seen = SpeedsSeen()
    for waits_s in [{B: 0.0, C: 1.0, D: 0.0}] * 10 + [{B: 0.3, C: 0.3, D: 0.3}] * 10:
        seen.note(EQUAL, waits_s, whole_s=1.0)
    assert seen.relative()[C] > 0.9


@given(st.lists(st.tuples(st.sampled_from([B, C, D]), st.integers(1, 4)), min_size=10, max_size=20))
def test_equals_stay_equal_whichever_of_them_is_the_last_for_a_few_rounds(lasts: list[tuple[PeerId, int]]) -> None:
    """Whoever is the last, by however little, is the only one that is waited for."""
    seen = SpeedsSeen()
    for peer in itertools.chain.from_iterable([peer] * rounds + [A] for peer, rounds in lasts):
        seen.note(EQUAL, {one: 1.0 if one == peer else 0.0 for one in EQUAL}, whole_s=1.0)
        words = seen.relative()
        assert agreed_speeds([A, B, C, D], {A: words, B: words, C: words, D: words}) == (FULL_SPEED,) * 4


def test_a_link_that_is_the_last_in_every_round_counts_as_slow_after_ten() -> None:
    words = [seen_after({B: 0.0, C: 1.0, D: 0.0}, rounds=rounds) for rounds in (9, 10)]
    assert [agreed_speeds([A, B, C], {A: seen, B: seen})[2] == FULL_SPEED for seen in words] == [True, False]


def test_a_single_other_peer_tells_nothing() -> None:
    seen = SpeedsSeen()
    seen.note({B: 100}, {B: 0.5}, whole_s=1.0)
    assert seen.relative() == {}


def test_only_so_many_peers_are_remembered() -> None:
    seen = SpeedsSeen()
    for number in range(200):
        pair = {PeerId(f"{number}"): 1, PeerId(f"{number}'"): 1}
        seen.note(pair, dict.fromkeys(pair, 0.5), whole_s=1.0)
    assert len(seen.relative()) == REMEMBERED_PEERS


def test_a_group_believes_the_median_of_what_the_others_say() -> None:
    slow = {C: 0.05}
    liar = {B: 0.0, C: 1.0, D: 0.0}
    assert agreed_speeds([A, B, C, D], {A: liar, B: slow, C: {}, D: slow}) == (255, 255, 13, 255)


def test_nobody_has_a_say_on_its_own_speed() -> None:
    assert agreed_speeds([A, B, C], {A: {A: 0.01, C: 1.0}, B: {}, C: {}}) == (FULL_SPEED,) * 3


@given(st.floats(0.34, 1.0))
def test_what_noise_may_explain_counts_as_equal(speed: float) -> None:
    assert agreed_speeds([A, B, C], {A: {C: speed}, B: {C: speed}, C: {}}) == (FULL_SPEED,) * 3


FAST_BYTES_PER_S = 1e6


ELEMENTS = 50_000


def rounds_with_uplinks(
    uplinks_of: Callable[[int], tuple[float, ...]], *, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> list[list[RoundResult]]:
    """Of each round in a row of four peers what all of them made of it. uplinks_of: by round, in bytes a second."""
    network = VirtualNetwork(3, buffer_bytes=8192)
    monkeypatch.setattr(swarms, "ELEMENTS", ELEMENTS)

    async def scenario(make: MakeTransport) -> list[list[RoundResult]]:
        async with swarm_of(make, 4, timing=TIMING.model_copy(update={"chunk_bytes": 4096})) as swarm:
            results = []
            for number in range(rounds):
                for name, bytes_per_s in zip("abcd", uplinks_of(number), strict=True):
                    network.set_uplink(name, bandwidth_bytes_per_s=bytes_per_s)
                found = [averaged.result for averaged in (await swarm.average()).values() if averaged is not None]
                assert [result.committed for result in found] == [True] * 4
                results.append(found)
            return results

    return run_on("virtual", scenario, network=network)


def seconds_of(results: list[list[RoundResult]]) -> list[float]:
    return [max(result.seconds for result in found) for found in results]


def with_one_slow(share: float) -> Callable[[int], tuple[float, ...]]:
    return lambda number: (FAST_BYTES_PER_S,) * 3 + (FAST_BYTES_PER_S * share,)


def test_a_slow_uplink_holds_the_group_up_less_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """With equal slices the slow one sends 1.5 models a round; with nothing to reduce it sends one."""
    seconds = seconds_of(rounds_with_uplinks(with_one_slow(1 / 8), rounds=14, monkeypatch=monkeypatch))
    assert max(seconds[10:]) < 0.75 * seconds[0]


def test_a_round_with_a_slow_uplink_takes_hardly_longer_than_its_own_values_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cut of the vector makes it send less than its own values, once."""
    seconds = seconds_of(rounds_with_uplinks(with_one_slow(1 / 4), rounds=14, monkeypatch=monkeypatch))
    assert max(seconds[10:]) < 1.1 * 4 * ELEMENTS / (FAST_BYTES_PER_S / 4)


def test_equal_uplinks_stay_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = seconds_of(rounds_with_uplinks(with_one_slow(1.0), rounds=14, monkeypatch=monkeypatch))
    assert max(seconds) < 1.2 * min(seconds)


@pytest.mark.parametrize("seed", [12, 13])
def test_uplinks_that_differ_by_noise_count_as_equal(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member sends what it contributes and the means of its slice, so that equal slices are equally many bytes."""
    rng = random.Random(seed)

    def noisy(number: int) -> tuple[float, ...]:
        return tuple(FAST_BYTES_PER_S * rng.uniform(0.8, 1.2) for _ in range(4))

    for found in rounds_with_uplinks(noisy, rounds=50, monkeypatch=monkeypatch):
        sent = [result.bytes_sent for result in found]
        assert max(sent) < 1.01 * min(sent)
