"""Places at relays: how many, where, and what becomes of them when relays end, refuse and come back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from gossiptrain.net.libp2p.relay_places import PERIOD_S, RETRY_S, RelayPlaces, relays_in
from gossiptrain.net.libp2p.reservation import HOP
from gossiptrain.net.transport import PeerId, Stream, Transport
from tests.transports import MakeTransport, run_on

GIVEN, REFUSED = b"\x04\x08\x02\x28\x64", b"\x05\x08\x02\x28\xc8\x01"
ME = PeerId("12D3KooWGRUaAYQbLM5gPeJcoWcTcqS8DkFTbdKPJYxmpvx8vWTY")
OTHER = PeerId("12D3KooWSNZCd8UVCqKaHJkHtS5cNUA6JEfG58C5gox27tUXCjsq")


def placed(scenario: Callable[[RelayPlaces, list[Transport], dict[PeerId, bytes]], Awaitable[None]]) -> None:
    """Runs `scenario` with a peer that wants places and three that could give them, and what each answers."""

    async def main(make: MakeTransport) -> None:
        alice = await make("alice")
        relays = [await make(f"relay {number}") for number in range(3)]
        answers = {relay.peer_id: GIVEN for relay in relays}
        for relay in relays:
            await relay.serve(HOP, answer_of(relay, answers))
            await alice.connect(relay.addresses[0])
        places = RelayPlaces(alice.peer_id, alice.clock, alice.open_stream, wanted=True)
        places.relays = {relay.peer_id: (f"/ip4/8.8.4.4/tcp/4001/p2p/{OTHER}",) for relay in relays}
        await scenario(places, relays, answers)

    run_on("virtual", main)


def answer_of(relay: Transport, answers: dict[PeerId, bytes]) -> Callable[[Stream], Awaitable[None]]:
    async def answer(stream: Stream) -> None:
        await stream.read_exactly(3)
        await stream.write(answers[relay.peer_id])

    return answer


def test_there_are_two_places_and_an_address_through_each() -> None:
    async def scenario(places: RelayPlaces, relays: list[Transport], answers: dict[PeerId, bytes]) -> None:
        await places.refresh()
        await places.refresh()
        assert list(places.held) == [relay.peer_id for relay in relays[:2]]
        assert len(places.addresses) == 2
        assert all("/p2p-circuit/p2p/" in address for address in places.addresses)

    placed(scenario)


def test_another_relay_takes_the_place_of_one_that_has_ended() -> None:
    async def scenario(places: RelayPlaces, relays: list[Transport], answers: dict[PeerId, bytes]) -> None:
        await places.refresh()
        await relays[0].close()
        await places.refresh()
        assert set(places.held) == {relay.peer_id for relay in relays[1:]}

    placed(scenario)


def test_a_relay_that_refuses_is_asked_again_later() -> None:
    async def scenario(places: RelayPlaces, relays: list[Transport], answers: dict[PeerId, bytes]) -> None:
        del places.relays[relays[2].peer_id]  # type: ignore[attr-defined]
        answers[relays[0].peer_id] = REFUSED
        await places.refresh()
        answers[relays[0].peer_id] = GIVEN
        await places.refresh()
        assert set(places.held) == {relays[1].peer_id}
        await relays[1].clock.sleep(RETRY_S + PERIOD_S)
        await places.refresh()
        assert len(places.held) == 2

    placed(scenario)


def test_who_needs_no_place_any_more_has_none() -> None:
    async def scenario(places: RelayPlaces, relays: list[Transport], answers: dict[PeerId, bytes]) -> None:
        await places.refresh()
        places.wanted = False
        await places.refresh()
        assert not places.held
        assert places.addresses == ()

    placed(scenario)


def test_only_who_lives_at_a_public_place_could_carry_unless_the_user_says_so() -> None:
    public, near = f"/ip4/8.8.4.4/tcp/4001/p2p/{OTHER}", f"/ip4/192.168.1.7/tcp/4001/p2p/{ME}"
    through = f"{public}/p2p-circuit/p2p/{ME}"
    named = f"/dns4/helper.example.org/tcp/4001/p2p/{OTHER}"
    assert relays_in([public, near, through, named, "nonsense"], anywhere=False) == {OTHER: (public, named)}
    assert relays_in([public, near], anywhere=True) == {OTHER: (public,), ME: (near,)}
