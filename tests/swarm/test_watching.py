"""Who watches hears of all, for few bytes; and to those that train it is nobody."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from gossiptrain.config import PRESETS
from gossiptrain.net.framing import write_frame
from gossiptrain.net.transport import PeerId, Stream
from gossiptrain.swarm.own_heartbeat import OwnState
from gossiptrain.swarm.peer import Environment, SwarmPeer
from gossiptrain.swarm.status import STATUS, STATUS_LIMIT_BYTES
from gossiptrain.swarm.watching import RATE_BYTES_PER_S, SAVED_BYTES, Watch
from tests.swarm.swarms import TIMING, Swarm, swarm_of
from tests.swarm.test_status import a_round
from tests.transports import Kind, MakeTransport, on_both_transports, run_on, until

FIRST_BYTES = 2000
"""More than a first answer takes."""


async def observer_in(swarm: Swarm, make: MakeTransport) -> tuple[SwarmPeer, asyncio.Task[None]]:
    first = next(iter(swarm.peers.values())).swarm
    transport = await make("observer")
    peer = SwarmPeer(
        Environment(transport, random.Random(1), 1),
        first.fingerprint,
        settings=swarm._settings,
        timing=TIMING,
        donate=lambda held, fragment: asyncio.sleep(0, None),
        role="observer",
    )
    peer.membership.describe(OwnState(joined=False))
    await peer.open()
    await peer.join([first.transport.addresses[0]])
    return peer, asyncio.create_task(peer.run())


@on_both_transports
def test_an_observer_hears_of_all_and_rounds_take_place_without_it(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            observer, running = await observer_in(swarm, make)
            watch = Watch(observer.admission, observer.membership)
            asking = asyncio.create_task(watch.run())
            for peer in swarm.peers.values():
                peer.swarm.status.note_round(3, a_round())
            heard: dict[str, int] = {}
            clock = observer.transport.clock
            async with clock.timeout(10.0):
                while len(heard) < 3 or not all(heard.values()):
                    heard |= {peer: shown[-1].rounds for peer, shown in watch.take(16).items()}
                    await clock.sleep(0.05)
            ends = await swarm.average()
            assert all(averaged is not None and averaged.result.committed for averaged in ends.values())
            me = observer.transport.peer_id
            for peer in swarm.peers.values():
                assert me in peer.swarm.membership.live()
                assert me not in peer.swarm.membership.participants()
                assert me not in peer.swarm.membership.trainers() | peer.swarm.membership.joiners().keys()
                assert peer.swarm.membership.only_watches(me)
            await observer.leave()
            for peer in swarm.peers.values():
                assert peer.swarm.membership.only_watches(me), "also once it has left"
            asking.cancel()
            running.cancel()
            await asyncio.gather(asking, running, return_exceptions=True)

    run_on(kind, scenario)


def test_however_many_there_are_asking_stays_below_its_rate_and_comes_round_to_all() -> None:
    async def scenario(make: MakeTransport) -> tuple[int, float, int]:
        async with swarm_of(
            make, 10, timing=TIMING.model_copy(update={"heartbeat_s": 1.0, "lifetime_s": 6.0})
        ) as swarm:
            a = swarm.peers["a"].swarm
            watch = Watch(a.admission, a.membership)
            clock = a.transport.clock
            asking = asyncio.create_task(watch.run())
            began_s, number = clock.now(), 0
            heard: set[str] = set()
            while clock.now() - began_s < 90.0:
                number += 1
                for peer in swarm.peers.values():
                    peer.swarm.status.note_loss(number, 1.0 / number)
                    peer.swarm.status.note_round(number, a_round(8))
                await clock.sleep(1.0)
                taken = watch.take(16)
                if clock.now() - began_s > 60.0:
                    heard |= taken.keys()
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            return watch.bytes_moved, clock.now() - began_s, len(heard)

    moved, seconds, heard = run_on("virtual", scenario)
    assert heard == 9
    assert moved > 0.8 * RATE_BYTES_PER_S * seconds
    assert moved < RATE_BYTES_PER_S * seconds + 9 * FIRST_BYTES + SAVED_BYTES


def test_who_watches_misses_a_killed_peer_of_a_large_swarm_within_five_seconds() -> None:
    async def scenario(make: MakeTransport) -> float:
        async with swarm_of(make, 24, timing=PRESETS["lan"]) as swarm:
            *others, victim = swarm.peers.values()
            watching = [
                asyncio.create_task(Watch(peer.swarm.admission, peer.swarm.membership).run()) for peer in others
            ]
            clock = victim.swarm.transport.clock
            await clock.sleep(10.0)
            await victim.stop()
            await victim.swarm.transport.close()
            killed_s = clock.now()
            while any(victim.id in peer.swarm.membership.live() for peer in others):
                await clock.sleep(0.1)
            seconds = clock.now() - killed_s
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            return seconds

    assert run_on("virtual", scenario) < 5.0


async def never(stream: Stream) -> None:
    await asyncio.Event().wait()


async def nonsense(stream: Stream) -> None:
    await write_frame(stream, b'MemberStatus {"loss": 1e999, "rounds": -1}', limit_bytes=STATUS_LIMIT_BYTES)


async def too_much(stream: Stream) -> None:
    await stream.write((1 << 30).to_bytes(4, "big"))


@pytest.mark.parametrize("answer", [never, nonsense, too_much], ids=lambda answer: answer.__name__)
def test_who_does_not_answer_as_it_should_holds_nobody_else_up(answer: Callable[[Stream], Awaitable[None]]) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            a, b, c = (swarm.peers[name] for name in "abc")
            await b.swarm.admission.serve(STATUS, answer)
            watch = Watch(a.swarm.admission, a.swarm.membership)
            asking = asyncio.create_task(watch.run())
            heard: dict[PeerId, object] = {}

            def has_heard() -> bool:
                heard.update(watch.take(16))
                return c.id in heard

            await until(has_heard, limit_s=5.0)
            assert b.id not in heard
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    run_on("virtual", scenario)
