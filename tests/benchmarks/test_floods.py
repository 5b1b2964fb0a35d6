"""What counts as a flood that a peer bears, and that a flood reaches a real peer."""

from __future__ import annotations

import asyncio
import dataclasses
import time

import pytest
from benchmarks.floods.__main__ import Course, Result, _result
from benchmarks.floods.attacks import Flood

from gossiptrain.net.addresses import parse_dial_address
from gossiptrain.net.libp2p.transport import Libp2pTransport
from tests.transports import MakeTransport, run_on

BEFORE, DURING, AFTER = (Course(t, t + 9.5, node, 70.0, cpu) for t, node, cpu in ((0, 50, 1), (10, 60, 3), (20, 55, 1)))


def steps(began_s: int, per_s: int) -> list[dict[str, object]]:
    return [{"event": "step", "time": float(began_s + n), "step": (began_s + n) * per_s} for n in range(10)]


def result(per_s: int, rounds: list[float]) -> Result:
    events = [*steps(0, 100), *steps(10, per_s), *steps(20, 120)]
    events += [{"event": "round", "time": time_s} for time_s in (5.0, *rounds, 25.0)]
    return _result("streams", events, (BEFORE, DURING, AFTER), did={"what": "ended", "streams": 5})


def test_speed_is_compared_with_before_and_after_and_memory_with_before() -> None:
    found = result(99, [12.0, 13.0])
    assert (found.steps_per_s_before, found.steps_per_s, found.steps_per_s_after) == (100, 99, 120)
    assert found.kept == pytest.approx(99 / 110)
    assert (found.node_growth_mb, found.daemon_growth_mb) == (10, 0)
    assert found.busy == pytest.approx(2 / 9.5)
    assert (found.rounds, found.longest_gap_s, found.did) == (2, 6.5, {"streams": 5})
    assert found.is_borne


def test_what_is_too_slow_too_large_or_without_rounds_is_not_borne() -> None:
    found = result(99, [12.0])
    assert not dataclasses.replace(found, kept=0.89).is_borne
    assert not dataclasses.replace(found, daemon_growth_mb=60.0).is_borne
    assert not dataclasses.replace(found, longest_gap_s=31.0).is_borne


def test_a_flood_of_each_kind_reaches_a_peer_which_answers_on() -> None:
    async def scenario(make: MakeTransport) -> None:
        host = await make("host")
        assert isinstance(host, Libp2pTransport)
        address = parse_dial_address(host.addresses[0])
        flood = Flood(address.host, address.port, 0, time.monotonic() + 1.0, count=30)
        await asyncio.gather(flood.streams(), flood.connections(), flood.lengths())
        assert flood.counts["streams"] >= 30
        assert flood.counts["connections"] == 30
        assert await host.daemon_alive(5.0)

    run_on("libp2p", scenario)
