"""Who of an exchange is known to be gone, and who is only slow."""

from __future__ import annotations

import asyncio

import pytest

from gossiptrain.net.framing import send_message
from gossiptrain.net.transport import Clock, PeerId, Stream, StreamHandler
from gossiptrain.net.virtual.network import VirtualNetwork
from gossiptrain.swarm.attempt import Attempt, Standing
from gossiptrain.swarm.messages import ProbeReply, RoundState
from gossiptrain.swarm.silence import PROBE, SilenceWatch
from tests.swarm.swarms import TIMING, Swarm, swarm_of
from tests.transports import MakeTransport, run_on

AFTER_S = 0.4
ATTEMPT = Attempt("ab", 0, (PeerId("a"), PeerId("b"), PeerId("c")), samples=(1, 1, 1), speeds=(1, 1, 1))


def saying(state: RoundState) -> StreamHandler:
    """Answers probes so."""

    async def answer(stream: Stream) -> None:
        await send_message(stream, ProbeReply(state=state))

    return answer


async def watching(swarm: Swarm) -> SilenceWatch:
    """The watch of a over b and c, which live and say that they are running."""
    for name in "bc":
        await swarm.peers[name].swarm.admission.serve(PROBE, saying("running"))
    return SilenceWatch(swarm.peers["a"].swarm.admission, ATTEMPT, {PeerId("b"): 2, PeerId("c"): 1})


async def found_within(watch: SilenceWatch, seconds: float) -> dict[PeerId, Standing]:
    try:
        async with asyncio.timeout(seconds):
            return await watch.gone(after_s=AFTER_S)
    except TimeoutError:
        return {}


def test_who_says_nothing_and_answers_is_slow_and_not_gone() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            assert await found_within(await watching(swarm), 60.0) == {}

    run_on("virtual", scenario)


def test_who_does_not_answer_either_is_gone_soon() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            watch = await watching(swarm)
            network.freeze("c")
            assert await found_within(watch, 1.5 * AFTER_S + TIMING.probe_timeout_s + 0.1) == {"c": Standing.SILENT}
            network.thaw("c")

    run_on("virtual", scenario, network=network)


@pytest.mark.parametrize("state", ["unknown", "over"])
def test_who_knows_nothing_of_the_round_any_more_is_gone(state: RoundState) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            watch = await watching(swarm)
            await swarm.peers["b"].swarm.admission.serve(PROBE, saying(state))
            assert await found_within(watch, 2 * AFTER_S) == {"b": Standing.ELSEWHERE}

    run_on("virtual", scenario)


def test_nobody_is_asked_with_whom_all_is_done() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            watch = await watching(swarm)
            watch.complete(PeerId("c"))
            network.freeze("c")
            assert await found_within(watch, 5.0) == {}
            network.thaw("c")

    run_on("virtual", scenario, network=network)


def test_a_lost_answer_does_not_matter_where_bytes_still_come() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            watch = await watching(swarm)
            network.freeze("c")  # as if a full link delayed the answer

            async def keep_moving() -> None:
                while True:
                    await asyncio.sleep(AFTER_S / 3)
                    watch.heard(PeerId("c"))

            moving = asyncio.create_task(keep_moving())
            assert await found_within(watch, 5.0) == {}
            moving.cancel()
            await asyncio.gather(moving, return_exceptions=True)
            network.thaw("c")

    run_on("virtual", scenario, network=network)


def test_who_has_been_asked_may_still_answer_when_the_watch_is_over() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            watch = await watching(swarm)
            assert await watch.answers_to_come() == {}
            network.freeze("c")
            assert await found_within(watch, 1.5 * AFTER_S) == {}
            assert await watch.answers_to_come() == {"c": Standing.SILENT}
            network.thaw("c")

    run_on("virtual", scenario, network=network)


class BusyClock(Clock):
    """Of a computer that wakes nobody in time."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds + 0.1)


def test_on_a_computer_that_is_too_busy_itself_silence_says_nothing() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            watch = await watching(swarm)
            watch._clock = BusyClock()
            network.freeze("c")
            assert await found_within(watch, 10.0) == {}
            watch._clock = Clock()
            assert await found_within(watch, 2 * AFTER_S + TIMING.probe_timeout_s) == {"c": Standing.SILENT}
            network.thaw("c")

    run_on("virtual", scenario, network=network)
