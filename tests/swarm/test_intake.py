"""What peers say at the ends of what words allow, in numbers, in lengths and in how often: it ends nobody's node."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import asynccontextmanager
from itertools import cycle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.net.framing import Message, encode_message
from gossiptrain.net.transport import MAX_VALUE_BYTES, PeerId, Transport, check_entry
from gossiptrain.net.virtual.network import VirtualTransport
from gossiptrain.simulate.swarms.extremes import extremes
from gossiptrain.simulate.swarms.liar import KINDS, PROTOCOLS, Liar
from gossiptrain.swarm import messages
from gossiptrain.swarm.candidates import MAX_CANDIDATES
from gossiptrain.swarm.coordinator import READY
from gossiptrain.swarm.intake import (
    ROUNDS_AT_ONCE,
    ROUNDS_PER_S,
    addresses_in,
    as_count,
    as_seconds,
    directory_entry,
    farthest_round,
    records_that_fit,
    tellable_addresses,
)
from gossiptrain.swarm.messages import (
    BEATS_LIMIT_BYTES,
    MAX_ADDRESSES,
    MAX_COUNT,
    MAX_KNOWN,
    MAX_RECORDS,
    Heartbeat,
    HeartbeatBatch,
    HeartbeatReply,
    SignedHeartbeat,
)
from gossiptrain.swarm.own_heartbeat import OwnState
from tests.swarm.swarms import TIMING, Swarm, fingerprint, swarm_of
from tests.transports import MakeTransport, run_on, until

SOMEBODY = PeerId("12D3KooWAT7pcteTvmxbM5dBpkUcrzANYJ6agF4DjwgNC7PLFvee")
PLACES = (
    "/ip4/127.0.0.1/tcp/9",
    "/ip4/0.0.0.0/tcp/4011",
    "/ip4/224.0.0.1/tcp/4011",
    "/ip6/::1/tcp/9",
    "/ip6/fe80::1/tcp/9",
    "/ip4/127.0.0.1/udp/9/quic-v1",
    "/ip4/127.0.0.1/tcp/9/ws",
    "/ip4/127.0.0.1/tcp/00009",
    "/dns/localhost/tcp/9",
    "/dns4/my_host/tcp/4011",
    "/dns4/ab--cd.example/tcp/4011",
    "/dns6/example.org./tcp/4011",
    f"/ip4/127.0.0.1/tcp/9/p2p/{SOMEBODY}/p2p-circuit",
    "/memory/nobody",
    "/" + "~" * 190,
)
"""Of every kind that the parser of addresses takes, and of kinds that it does not."""


def lying_heartbeats(liar: Liar) -> Iterator[Heartbeat]:
    """Truly signed ones with every field at its ends, and addresses of every kind."""
    yield from liar.own_heartbeats()
    for place in PLACES:
        for owner in (liar.id, SOMEBODY, "nobody"):
            yield liar.heartbeat(addresses=(f"{place}/p2p/{owner}",))
    yield liar.heartbeat(addresses=tuple(f"{place}/p2p/{liar.id}" for place in PLACES))


@asynccontextmanager
async def attacked_swarm(make: MakeTransport) -> Any:
    """A swarm of four, and a liar that all of them have admitted."""
    async with swarm_of(make, 4) as swarm:
        liar = Liar(await make("liar"), fingerprint(), TIMING)
        await liar.open()
        for peer in swarm.peers.values():
            await liar.transport.connect(peer.swarm.transport.addresses[0])
            assert await liar.admission.handshake(peer.id)
        yield swarm, liar


async def check_unharmed(swarm: Swarm, *, limit_s: float) -> None:
    """Nobody's loops have ended, and the next round of all four commits soon."""
    for peer in swarm.peers.values():
        assert peer.background is not None
        assert not peer.background.done(), peer.background
    async with asyncio.timeout(limit_s):
        for averaged in (await swarm.average()).values():
            assert averaged is not None
            assert averaged.result.committed
            assert len(averaged.result.members) == 4


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_no_message_at_its_ends_ends_a_node_or_a_round(kind: type[Message]) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with attacked_swarm(make) as (swarm, liar):
            victims = cycle([peer.id for peer in swarm.peers.values()])
            for message in extremes(kind):
                for protocol in PROTOCOLS:
                    await liar.say(next(victims), protocol, message)
                await asyncio.sleep(TIMING.dial_timeout_s)  # nobody has more than some streams open at a peer
            await check_unharmed(swarm, limit_s=3.0)

    run_on("virtual", scenario)


def test_no_heartbeat_that_a_member_signs_ends_a_node_or_a_round() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with attacked_swarm(make) as (swarm, liar):
            for heartbeat in lying_heartbeats(liar):
                for peer in swarm.peers.values():
                    await liar.beat(peer.id, heartbeat)
                await asyncio.sleep(TIMING.heartbeat_s)
            await check_unharmed(swarm, limit_s=3.0)
            for peer in swarm.peers.values():
                await liar.beat(peer.id, liar.heartbeat(incarnation=MAX_COUNT, counter=MAX_COUNT, round=MAX_COUNT))
            await check_unharmed(swarm, limit_s=3.0)

    run_on("virtual", scenario)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_answer_at_its_ends_ends_a_node_or_a_round(protocol: str) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with attacked_swarm(make) as (swarm, liar):
            assert isinstance(liar.transport, VirtualTransport)
            answers = cycle([message for kind in KINDS for message in extremes(kind)])
            await liar.answer_with(protocol, lambda: next(answers))
            for _ in range(40):
                for peer in swarm.peers.values():
                    await liar.beat(peer.id, liar.heartbeat(ready_in_s=1.0))
                await swarm.average()
            del liar.transport._protocols[protocol]
            await check_unharmed(swarm, limit_s=3.0)

    run_on("virtual", scenario)


def test_no_entry_of_the_directory_ends_a_node_or_a_round() -> None:
    wrong: list[Any] = [[], {}, [[]], [None], "x", 1e308, ["", "/"], ["/" + "x" * 900]]
    entries = [
        *(json.dumps([f"{place}/p2p/{owner}"]).encode() for place in PLACES for owner in (SOMEBODY, "nobody")),
        *(json.dumps(value).encode() for value in wrong),
        *(b"", b"[" * MAX_VALUE_BYTES, b"\xff" * MAX_VALUE_BYTES, b'["\\ud800"]', b"[1e999]", b"9" * MAX_VALUE_BYTES),
    ]

    async def scenario(make: MakeTransport) -> None:
        async with attacked_swarm(make) as (swarm, liar):
            for number, entry in enumerate(entries):
                await liar.transport.directory.put(fingerprint().key, f"stranger{number}", entry, lifetime_s=1e3)
            await asyncio.sleep(3 * TIMING.directory_s)
            await check_unharmed(swarm, limit_s=3.0)

    run_on("virtual", scenario)


def test_on_real_daemons_a_liar_ends_nobody_either() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with attacked_swarm(make) as (swarm, liar):
            for heartbeat in lying_heartbeats(liar):
                await asyncio.gather(*(liar.beat(peer.id, heartbeat) for peer in swarm.peers.values()))
            victims = cycle([peer.id for peer in swarm.peers.values()])
            for kind in KINDS:
                *_, most = extremes(kind)
                await asyncio.gather(*(liar.say(next(victims), protocol, most) for protocol in PROTOCOLS))
            entry = json.dumps([f"/dns4/my_host/tcp/4011/p2p/{SOMEBODY}"]).encode()
            await liar.transport.directory.put(fingerprint().key, SOMEBODY, entry, lifetime_s=60.0)
            await asyncio.sleep(2 * TIMING.directory_s)
            await check_unharmed(swarm, limit_s=15.0)

    run_on("libp2p", scenario)


# Numbers of rounds.


@given(
    honest=st.lists(st.integers(0, 1000), min_size=2, max_size=40),
    liars=st.lists(st.integers(0, MAX_COUNT), max_size=30),
    seen_by=st.integers(0, 39),
)
def test_a_minority_of_liars_moves_nobody_far_and_holds_nobody_back(
    honest: list[int], liars: list[int], seen_by: int
) -> None:
    liars = liars[: (len(honest) - 1) // 2]
    own, *others = honest[seen_by % len(honest) :] + honest[: seen_by % len(honest)]
    farthest = farthest_round(own, [*others, *liars], lifetime_s=5.0)
    assert max(honest) <= farthest <= max(honest) + ROUNDS_AT_ONCE + 5 * ROUNDS_PER_S


@given(own=st.integers(0, 100), number=st.integers(0, MAX_COUNT), others=st.integers(1, 10))
def test_who_was_away_for_however_long_follows_the_others(own: int, number: int, others: int) -> None:
    assert farthest_round(own, [number] * others, lifetime_s=5.0) >= number


def test_newcomers_do_not_hold_back_those_that_have_come_far() -> None:
    assert farthest_round(1_000_000, [1_000_000, 0, 0, 0, 0, 0], lifetime_s=5.0) >= 1_000_000


@given(st.integers() | st.just(2**53 + 1))
def test_counts_are_within_their_bounds(number: int) -> None:
    assert 0 <= as_count(number) <= MAX_COUNT
    assert as_count(number) == number or not 0 <= number <= MAX_COUNT


@given(st.floats() | st.none())
def test_waits_can_be_told(seconds: float | None) -> None:
    told = as_seconds(seconds)
    assert told is None or 0.0 <= told <= 1e9


def test_what_a_peer_says_of_itself_can_be_told_whatever_its_trainer_says() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            membership = swarm.peers["a"].swarm.membership
            for number in (-1, MAX_COUNT, MAX_COUNT + 1, 2**70):
                for seconds in (-1.0, float("inf"), float("nan"), 1e300):
                    membership.describe(OwnState(number, number, seconds, ends_in_s=seconds))
                    membership.reach_round(number)
            assert membership.own.step == MAX_COUNT
            await swarm.know_each_other()

    run_on("virtual", scenario)


@pytest.mark.parametrize("number", [10**6, MAX_COUNT - 1, MAX_COUNT])
def test_nobody_follows_one_peer_to_a_round_that_the_others_know_nothing_of(number: int) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with attacked_swarm(make) as (swarm, liar):
            ready = messages.Ready(round=number, samples=1, urgent=False)
            for peer in swarm.peers.values():
                await liar.say(peer.id, READY, ready)
                await liar.beat(peer.id, liar.heartbeat(round=number))
            await asyncio.sleep(5 * TIMING.heartbeat_s)
            assert all(peer.swarm.membership.round == 0 for peer in swarm.peers.values())
            await check_unharmed(swarm, limit_s=3.0)
            assert all(peer.swarm.membership.round == 1 for peer in swarm.peers.values())

    run_on("virtual", scenario)


def test_a_newcomer_takes_part_in_the_round_that_the_others_are_at_however_far() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            for peer in swarm.peers.values():
                peer.swarm.membership._own._state = OwnState(round=10**9, ready_in_s=0.0)
                await peer.swarm.membership.announce()
            await swarm.add("d")
            await swarm.know_each_other()
            for averaged in (await swarm.average()).values():
                assert averaged is not None
                assert averaged.number >= 10**9
                assert len(averaged.result.members) == 4

    run_on("virtual", scenario)


def test_who_followed_a_liar_while_it_knew_nobody_else_comes_back() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            liar = Liar(await make("liar"), fingerprint(), TIMING)
            await liar.open()
            alone = await swarm.add("d", initial=None)
            await liar.transport.connect(alone.swarm.transport.addresses[0])
            await liar.admission.handshake(alone.id)
            await liar.beat(alone.id, liar.heartbeat(round=MAX_COUNT))
            await alone.swarm.join([swarm.peers["a"].swarm.transport.addresses[0]])
            await swarm.know_each_other()
            await asyncio.sleep(2 * TIMING.heartbeat_s)
            await check_unharmed(swarm, limit_s=3.0)

    run_on("virtual", scenario)


# Messages and entries that always fit.

RECORDS = st.builds(
    lambda size, letter: SignedHeartbeat(body=letter * size, signature="f" * 128),
    st.integers(0, 8192),
    st.sampled_from(["x", '"', "\0", "😀"]),
)


@given(RECORDS, st.lists(RECORDS, max_size=80))
def test_records_fit_into_a_message_with_the_own_one_first(own: SignedHeartbeat, others: list[SignedHeartbeat]) -> None:
    records = records_that_fit(own, others)
    assert records == (own, *others)[: len(records)]
    assert len(records) <= MAX_RECORDS
    for reply in extremes(HeartbeatReply):
        assert len(encode_message(reply.model_copy(update={"records": records}))) <= BEATS_LIMIT_BYTES


def test_more_records_than_fit_into_a_message_are_left_out() -> None:
    """As many as there may be, each as long as it may be."""
    longest = SignedHeartbeat(body="x" * 8192, signature="f" * 128)
    records = records_that_fit(longest, [longest] * MAX_RECORDS)
    assert 1 < len(records) < MAX_RECORDS
    assert len(encode_message(HeartbeatBatch(records=records))) <= BEATS_LIMIT_BYTES


@given(st.lists(st.text(max_size=300) | st.text("/x", max_size=300).map("/".__add__), max_size=20))
def test_the_own_entry_of_the_directory_always_fits_and_is_read_as_it_was_meant(addresses: list[str]) -> None:
    entry = directory_entry(addresses)
    check_entry("key", "peer", value=entry, lifetime_s=1.0)
    assert addresses_in(entry) == tellable_addresses(addresses)[: len(addresses_in(entry))]


# Many peers, and peers that are made up.


def with_addresses(make: MakeTransport, many: int) -> MakeTransport:
    """Peers that are reached at so many addresses, of the longest usual kind."""

    async def made(name: str) -> Transport:
        transport = await make(name)
        more = (
            f"/ip6/2001:db8:85a3:8d3:1319:8a2e:370:{number:x}/udp/40{number:03}/quic-v1/p2p/{SOMEBODY}"
            for number in range(many - 1)
        )
        transport.addresses = (*transport.addresses, *more)
        return transport

    return made


def test_64_peers_with_as_many_addresses_as_can_be_told_find_each_other_and_average() -> None:
    timing = TIMING.model_copy(update={"heartbeat_s": 1.0, "lifetime_s": 5.0})

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(with_addresses(make, MAX_ADDRESSES), 0, timing=timing) as swarm:
            for number in range(64):
                await swarm.add(f"peer{number}")
            await swarm.know_each_other()
            for peer in swarm.peers.values():
                assert len(peer.swarm.membership.trainers()) == 64
            for averaged in (await swarm.average()).values():
                assert averaged is not None
                assert averaged.result.committed
            await asyncio.sleep(2 * timing.lifetime_s)
            assert not any(change == "lost" for peer in swarm.peers.values() for change, _ in peer.changes)

    run_on("virtual", scenario)


async def made_up(make: MakeTransport, number: int) -> SignedHeartbeat:
    """A true heartbeat of a peer that is nowhere."""
    transport = await make(f"sybil{number}")
    liar = Liar(transport, fingerprint(), TIMING)
    record = liar.signed(liar.heartbeat(ready_in_s=0.0, round=number))
    await transport.close()
    return record


def test_peers_that_nobody_has_met_count_for_nothing_and_keep_nobody_out() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with attacked_swarm(make) as (swarm, liar):
            victim = swarm.peers["a"]
            for first in range(0, 1200, 60):
                records = [await made_up(make, first + number) for number in range(60)]
                await liar.pass_on(victim.id, records)
            assert victim.swarm.membership.trainers() == {*(peer.id for peer in swarm.peers.values()), liar.id}
            assert len(victim.swarm.membership._table._candidates) <= MAX_CANDIDATES
            await check_unharmed(swarm, limit_s=1.0)
            newcomer = await swarm.add("e", initial="b")
            await until(lambda: newcomer.id in victim.swarm.membership.live(), limit_s=2.0)

    run_on("virtual", scenario)


def test_of_members_no_more_are_remembered_than_there_is_room_for() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            a, b = swarm.peers["a"], swarm.peers["b"]
            for number in range(MAX_KNOWN + 50):
                record = await made_up(make, number)
                a.swarm.membership._table.absorb([record], told_by=PeerId(f"sybil{number}"))
                if number % 100 == 0:
                    await b.swarm.membership.announce()
            assert len(a.swarm.membership._table) == MAX_KNOWN
            assert b.id in a.swarm.membership.live(), "who was met last stays"

    run_on("virtual", scenario)


def test_a_peer_is_alive_only_once_it_was_reached_or_has_reached_this_one() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            a = swarm.peers["a"]
            record = await made_up(make, 0)
            a.swarm.membership._table.absorb([record], told_by=swarm.peers["b"].id)
            assert PeerId("sybil0") not in a.swarm.membership.live()
            a.swarm.membership._table.absorb([record], told_by=PeerId("sybil0"))
            assert PeerId("sybil0") in a.swarm.membership.live()

    run_on("virtual", scenario)
