"""Which of a node's addresses are tried, in what order, and how long addresses that lead nowhere hold anybody up."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

import pytest

from gossiptrain.net import lane_dialling
from gossiptrain.net.lane_dialling import DIAL_S, STAGGER_S, LaneDialler, Ticket
from gossiptrain.net.lane_words import LaneOffer, NoLaneError
from gossiptrain.net.listener import IpAddress
from gossiptrain.net.sealed_wire import SealedWire
from gossiptrain.net.transport import PeerId, StreamClosedError
from gossiptrain.net.virtual_time import run_virtual
from gossiptrain.net.wire import Wire
from tests.net.lane_pairs import credentials

BOB = PeerId("bob")
NEAR, HOME, FAR = "127.0.0.1", "192.168.1.7", "8.8.4.4"
ANSWERS, REFUSES, SILENT, STRANGER = "answers", "refuses", "silent", "stranger"


@dataclass(eq=False)
class FakeWire:
    """A connection to some host."""

    host: str
    ended: bool = False

    def end(self) -> None:
        self.ended = True


@dataclass
class World:
    """What happens at each host, and what has been tried there."""

    hosts: dict[str, str]
    answer_s: float = 0.01
    tried: list[str] = field(default_factory=list)
    wires: list[FakeWire] = field(default_factory=list)
    entered: list[FakeWire] = field(default_factory=list)

    async def connect(self, host: IpAddress, port: int) -> Wire:
        """In the place of a socket."""
        self.tried.append(str(host))
        await asyncio.sleep(DIAL_S if self.hosts[str(host)] == SILENT else self.answer_s)
        match self.hosts[str(host)]:
            case "silent":
                raise TimeoutError
            case "refuses":
                raise ConnectionRefusedError("refused")
        self.wires.append(FakeWire(str(host)))
        return cast(Wire, self.wires[-1])

    async def enter(self, dialler: LaneDialler, wire: Wire, ticket: Ticket) -> SealedWire:
        """In the place of the handshake."""
        fake = cast(FakeWire, wire)
        try:
            await asyncio.sleep(self.answer_s)
            if self.hosts[fake.host] == STRANGER:
                raise StreamClosedError("not who it should be")
        except BaseException:
            wire.end()
            raise
        self.entered.append(fake)
        return cast(SealedWire, fake)


def offer_at(*hosts: str) -> LaneOffer:
    places = tuple(f"/ip4/{host}/tcp/4011" for host in hosts)
    return LaneOffer(certificate="00", token="00" * 32, places=places)


def run(
    monkeypatch: pytest.MonkeyPatch, world: World, scenario: Callable[[LaneDialler], Awaitable[None]]
) -> tuple[list[str], float]:
    """What was tried, and how long it took."""

    async def enter(dialler: LaneDialler, wire: Wire, ticket: Ticket) -> SealedWire:
        return await world.enter(dialler, wire, ticket)

    monkeypatch.setattr(lane_dialling, "_connect", world.connect)
    monkeypatch.setattr(LaneDialler, "_enter", enter)

    async def main() -> float:
        started_s = asyncio.get_running_loop().time()
        await scenario(LaneDialler(credentials("alice")))
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return asyncio.get_running_loop().time() - started_s

    took_s = run_virtual(main())
    assert all(wire.ended or wire in world.entered for wire in world.wires), "connections are left over"
    return world.tried, took_s


def test_the_nearest_address_is_tried_first_and_where_it_leads_there_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(dialler: LaneDialler) -> None:
        await dialler.dial_offer(BOB, offer_at(FAR, HOME, NEAR))

    tried, took_s = run(monkeypatch, World({NEAR: ANSWERS, HOME: ANSWERS, FAR: ANSWERS}), scenario)
    assert tried == [NEAR]
    assert took_s < STAGGER_S


def test_the_address_that_led_there_the_last_time_is_tried_first(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(dialler: LaneDialler) -> None:
        for _ in range(2):
            await dialler.dial_offer(BOB, offer_at(FAR, HOME, NEAR))

    tried, _ = run(monkeypatch, World({NEAR: REFUSES, HOME: REFUSES, FAR: ANSWERS}), scenario)
    assert tried == [NEAR, HOME, FAR, FAR]


def test_an_address_that_says_nothing_does_not_hold_the_others_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(dialler: LaneDialler) -> None:
        await dialler.dial_offer(BOB, offer_at(FAR, HOME, NEAR))

    tried, took_s = run(monkeypatch, World({NEAR: SILENT, HOME: SILENT, FAR: ANSWERS}), scenario)
    assert tried == [NEAR, HOME, FAR]
    assert took_s < 3 * STAGGER_S


def test_whoever_answers_in_the_place_of_the_node_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(dialler: LaneDialler) -> None:
        found = cast(FakeWire, await dialler.dial_offer(BOB, offer_at(NEAR, HOME)))
        assert found.host == HOME

    run(monkeypatch, World({NEAR: STRANGER, HOME: ANSWERS}), scenario)


def test_slow_answers_that_come_together_leave_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(dialler: LaneDialler) -> None:
        await dialler.dial_offer(BOB, offer_at(FAR, HOME, NEAR))

    world = World({NEAR: ANSWERS, HOME: ANSWERS, FAR: ANSWERS}, answer_s=4 * STAGGER_S)
    run(monkeypatch, world, scenario)
    assert len(world.entered) == 1


def test_where_no_address_leads_there_it_says_why_at_each(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(dialler: LaneDialler) -> None:
        with pytest.raises(NoLaneError) as caught:
            await dialler.dial_offer(BOB, offer_at(NEAR, HOME, FAR))
        reasons = set(str(caught.value).split("; "))
        assert reasons == {f"{NEAR}: not who it should be", f"{HOME}: refused", f"{FAR}: no answer in time"}

    _, took_s = run(monkeypatch, World({NEAR: STRANGER, HOME: REFUSES, FAR: SILENT}), scenario)
    assert took_s < DIAL_S + 4 * STAGGER_S


@pytest.mark.parametrize(
    "place",
    ["/ip4/0.0.0.0/tcp/4000", "/ip4/224.0.0.1/tcp/4011", "/ip4/8.8.4.4/udp/4/quic-v1", "/dns/x.invalid/tcp/4"],
)
def test_places_that_cannot_be_dialled_are_not(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    async def scenario(dialler: LaneDialler) -> None:
        with pytest.raises(NoLaneError, match="has no address for it"):
            await dialler.dial_offer(BOB, offer_at().model_copy(update={"places": (place, "nonsense")}))

    tried, _ = run(monkeypatch, World({}), scenario)
    assert tried == []


def test_a_dial_that_is_given_up_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(dialler: LaneDialler) -> None:
        for step in range(12):
            dialling = asyncio.create_task(dialler.dial_offer(BOB, offer_at(NEAR, HOME, FAR)))
            await asyncio.sleep(step * STAGGER_S / 4)
            dialling.cancel()
            await asyncio.wait([dialling])

    run(monkeypatch, World({NEAR: SILENT, HOME: STRANGER, FAR: SILENT}, answer_s=STAGGER_S / 2), scenario)


def test_every_place_is_known_by_its_host() -> None:
    ordered = LaneDialler(credentials("alice"))._ordered(BOB, offer_at(FAR, HOME, NEAR, "224.0.0.1").places)
    assert ordered == [(ipaddress.ip_address(host), 4011) for host in (NEAR, HOME, FAR)]
