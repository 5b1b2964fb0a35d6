"""What faults of links make of a link, and clocks that are wrong."""

from __future__ import annotations

import pytest

from gossiptrain.net.transport import Clock
from gossiptrain.net.virtual.time import run_virtual
from gossiptrain.simulate.swarms.network import FAR_S, NEAR_S, SimulatedNetwork, WrongClock
from gossiptrain.simulate.swarms.plan import REGIONS, Latency, Loss, Reorder, peer_names, region_of

NAMES = peer_names(9)
NEAR = next((one, other) for one in NAMES for other in NAMES if one < other and region_of(one) == region_of(other))
FAR = next((one, other) for one in NAMES for other in NAMES if one < other and region_of(one) != region_of(other))


def test_peers_live_in_all_regions_and_are_near_to_those_of_their_own() -> None:
    network = SimulatedNetwork(0)
    assert {region_of(name) for name in NAMES} == set(range(REGIONS))
    assert network.settings_between(*NEAR).latency_s == NEAR_S
    assert network.settings_between(*FAR).latency_s == FAR_S


def test_a_long_way_between_two_regions_is_long_for_old_and_new_links_until_it_is_over() -> None:
    network = SimulatedNetwork(0)
    old = network.link(*FAR)
    network.begin(7, Latency(0.0, 1.0, region_of(FAR[0]), region_of(FAR[1]), latency_s=0.3, jitter_s=0.1))
    assert old.settings.latency_s == network.link(*reversed(FAR)).settings.latency_s == FAR_S + 0.3
    assert network.link(*NEAR).settings.latency_s == NEAR_S
    network.end(7)
    assert old.settings.latency_s == FAR_S


def test_loss_and_reordering_are_about_one_peer_and_add_up() -> None:
    network = SimulatedNetwork(0)
    network.begin(1, Loss(0.0, 1.0, NEAR[0], 0.1))
    network.begin(2, Reorder(0.0, 1.0, NEAR[1], jitter_s=0.2))
    both, one = network.settings_between(*NEAR), network.settings_between("p7", NEAR[0])
    assert (both.lost_share, both.reorders) == (0.1, True)
    assert (one.lost_share, one.reorders) == (0.1, False)


def test_a_link_that_two_faults_cut_is_free_when_both_are_over() -> None:
    network = SimulatedNetwork(0)
    network.cut_apart(1, ["p0"], ["p1", "p2"])
    network.cut_one_way(2, "p0", "p1")
    assert network.entries.are_parted("p1", "p0")
    network.uncut(1)
    assert network._is_blocked("p0", "p1")
    assert not network._is_blocked("p1", "p0")
    assert not network._is_blocked("p0", "p2")
    network.uncut(2)
    assert not network._is_blocked("p0", "p1")
    assert network.entries.are_parted("p1", "p0")  # until peers join it again


async def wait_beyond_a_moved_deadline(clock: Clock, right: Clock) -> None:
    async with clock.timeout(5.0) as deadline:
        await right.sleep(3.0)
        deadline.reschedule(clock.now() + 5.0)
        await right.sleep(4.5)


def test_a_wrong_clock_is_off_and_goes_at_its_own_rate() -> None:
    async def main() -> None:
        clock, right = WrongClock(-3600.0, 1.25), WrongClock(0.0, 1.0)
        began_s, right_began_s = clock.now(), right.now()
        assert began_s == pytest.approx(-3600.0)
        await clock.sleep(10.0)
        assert clock.now() - began_s == pytest.approx(10.0)
        assert right.now() - right_began_s == pytest.approx(8.0)
        with pytest.raises(TimeoutError):
            async with clock.timeout(5.0):
                await right.sleep(4.5)
        assert right.now() - right_began_s == pytest.approx(12.0)
        with pytest.raises(TimeoutError):
            await wait_beyond_a_moved_deadline(clock, right)
        assert right.now() - right_began_s == pytest.approx(19.0)

    run_virtual(main())
