"""Which lanes are kept between two streams, for how long, and which one is taken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

import pytest

from gossiptrain.net import resting_lanes
from gossiptrain.net.lane import Lane
from gossiptrain.net.resting_lanes import GRACE_S, MAX_ALIKE, REST_S, RestingLanes
from gossiptrain.net.transport import PeerId
from gossiptrain.net.virtual_time import run_virtual

ALICE, BOB = PeerId("alice"), PeerId("bob")


@dataclass(eq=False)
class FakeLane:
    """As much of a lane as is looked at here."""

    peer: PeerId = BOB
    opens: bool = True
    is_free: bool = True
    is_worn_out: bool = False
    is_resting: bool = False
    ended: bool = False
    on_broken: list[Callable[[], None]] = field(default_factory=list)

    def rest(self, on_broken: Callable[[], None] | None) -> None:
        self.is_resting = True
        assert (on_broken is not None) is self.opens
        if on_broken is not None:
            self.on_broken.append(on_broken)

    def wake(self) -> None:
        self.is_resting = False

    def end(self) -> None:
        self.ended = True


class Rest:
    """Resting lanes, of the fake kind."""

    def __init__(self) -> None:
        self.lanes = RestingLanes()

    def keep(self, lane: FakeLane) -> FakeLane:
        self.lanes.keep(cast(Lane, lane))
        return lane

    def release(self, lane: FakeLane) -> None:
        self.lanes.release(cast(Lane, lane))

    def take(self, peer: PeerId = BOB) -> FakeLane | None:
        return cast("FakeLane | None", self.lanes.take(peer))


def run(scenario: Callable[[Rest], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario(Rest())

    run_virtual(main())


def test_a_lane_is_taken_once_and_by_its_peer() -> None:
    async def scenario(rest: Rest) -> None:
        lane = rest.keep(FakeLane())
        assert lane.is_resting
        assert rest.take(ALICE) is None
        assert rest.take() is lane
        assert not lane.is_resting
        assert rest.take() is None
        await asyncio.sleep(2 * REST_S)
        assert not lane.ended, "it is the taker's now"

    run(scenario)


def test_the_lane_that_was_used_last_is_taken_first() -> None:
    async def scenario(rest: Rest) -> None:
        first, second = rest.keep(FakeLane()), rest.keep(FakeLane())
        assert [rest.take(), rest.take()] == [second, first]

    run(scenario)


def test_a_lane_whose_last_stream_is_not_over_is_passed_by() -> None:
    async def scenario(rest: Rest) -> None:
        lane = rest.keep(FakeLane(is_free=False))
        assert rest.take() is None
        lane.is_free = True
        assert rest.take() is lane

    run(scenario)


def test_a_lane_on_which_the_other_side_opens_is_not_taken() -> None:
    async def scenario(rest: Rest) -> None:
        rest.keep(FakeLane(opens=False))
        assert rest.take() is None

    run(scenario)


@pytest.mark.parametrize(("opens", "rest_s"), [(True, REST_S), (False, REST_S + GRACE_S)])
def test_nobody_rests_for_ever_and_the_side_that_opens_gives_up_first(opens: bool, rest_s: float) -> None:
    async def scenario(rest: Rest) -> None:
        lane = rest.keep(FakeLane(opens=opens))
        await asyncio.sleep(rest_s - 1)
        assert not lane.ended
        await asyncio.sleep(2)
        assert lane.ended
        assert len(rest.lanes) == 0

    run(scenario)


def test_each_rest_begins_anew() -> None:
    async def scenario(rest: Rest) -> None:
        lane = rest.keep(FakeLane())
        for _ in range(5):
            await asyncio.sleep(REST_S - 1)
            assert rest.take() is lane
            rest.keep(lane)
        assert not lane.ended

    run(scenario)


def test_a_broken_lane_is_ended_and_not_taken() -> None:
    async def scenario(rest: Rest) -> None:
        lane = rest.keep(FakeLane())
        lane.on_broken[-1]()
        assert lane.ended
        assert rest.take() is None

    run(scenario)


def test_of_too_many_lanes_for_one_purpose_the_oldest_are_ended() -> None:
    async def scenario(rest: Rest) -> None:
        others = [rest.keep(FakeLane(peer=ALICE)), rest.keep(FakeLane(opens=False))]
        lanes = [rest.keep(FakeLane()) for _ in range(MAX_ALIKE + 2)]
        assert [lane.ended for lane in lanes] == [True] * 2 + [False] * MAX_ALIKE
        assert not any(lane.ended for lane in others)

    run(scenario)


@pytest.mark.parametrize("opens", [True, False])
def test_of_too_many_lanes_one_way_the_oldest_are_ended(monkeypatch: pytest.MonkeyPatch, opens: bool) -> None:
    monkeypatch.setattr(resting_lanes, "MAX_RESTING", 3)

    async def scenario(rest: Rest) -> None:
        other_way = rest.keep(FakeLane(opens=not opens))
        lanes = [rest.keep(FakeLane(peer=PeerId(f"peer {number}"), opens=opens)) for number in range(5)]
        assert [lane.ended for lane in lanes] == [True, True, False, False, False]
        assert not other_way.ended

    run(scenario)


def test_a_lane_that_is_worn_out_is_not_kept() -> None:
    async def scenario(rest: Rest) -> None:
        lane = rest.keep(FakeLane(is_worn_out=True))
        assert lane.ended
        assert len(rest.lanes) == 0

    run(scenario)


def test_all_lanes_to_one_peer_can_be_ended_and_the_others_stay() -> None:
    async def scenario(rest: Rest) -> None:
        to_bob = [rest.keep(FakeLane()), rest.keep(FakeLane(is_free=False))]
        others = [rest.keep(FakeLane(peer=ALICE)), rest.keep(FakeLane(opens=False))]
        rest.lanes.end_all(BOB)
        assert all(lane.ended for lane in to_bob)
        assert not any(lane.ended for lane in others)

    run(scenario)


def test_after_closing_nothing_rests() -> None:
    async def scenario(rest: Rest) -> None:
        early = [rest.keep(FakeLane()), rest.keep(FakeLane(opens=False))]
        rest.lanes.close()
        rest.lanes.close()
        late = rest.keep(FakeLane())
        assert all(lane.ended for lane in (*early, late))

    run(scenario)


def test_what_is_not_there_can_be_released() -> None:
    async def scenario(rest: Rest) -> None:
        lane = FakeLane()
        rest.release(lane)
        assert not lane.ended

    run(scenario)
