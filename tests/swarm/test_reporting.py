"""Which verdicts a member takes from a leader, and how long it waits for one."""

from __future__ import annotations

import asyncio

import pytest

from gossiptrain.net.framing import Message, receive_message, send_message
from gossiptrain.net.transport import Stream
from gossiptrain.swarm.attempt import Standing, Standings
from gossiptrain.swarm.leader import Verdict
from gossiptrain.swarm.messages import Abandon, Commit, Report, Retry, Waiting
from gossiptrain.swarm.reporting import REPORT, Reporting
from tests.swarm.swarms import TIMING, swarm_of
from tests.transports import MakeTransport, run_on

LONGEST_S = 2.0
FAILED = Report(round_id="ab", attempt=3, members=("a", "b", "c"), finished=False)
FINISHED = FAILED.model_copy(update={"finished": True})
COMMIT = Commit(disagreement=None)


def answer_of_leader(report: Report, *words: Message) -> tuple[Verdict | None, Standings]:
    """What a makes of a leader b that says these words and repeats the last one."""
    standings = Standings()
    verdicts: list[Verdict | None] = []

    async def serve(stream: Stream) -> None:
        await receive_message(stream, Report)
        for word in words:
            await send_message(stream, word)
        while True:
            await asyncio.sleep(TIMING.probe_timeout_s)
            await send_message(stream, words[-1])

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            a, b = swarm.peers.values()
            await b.swarm.admission.serve(REPORT, serve)
            reporting = Reporting(a.swarm.admission, standings)
            verdicts.append(await reporting.report_to(b.id, report, longest_s=LONGEST_S))

    run_on("virtual", scenario)
    return verdicts[0], standings


@pytest.mark.parametrize("verdict", [Abandon(reason="x"), Retry(attempt=4, members=("b", "a")), COMMIT])
def test_a_verdict_that_can_be_is_taken_however_often_the_leader_has_others_wait(verdict: Verdict) -> None:
    assert answer_of_leader(FINISHED, Waiting(), Waiting(), verdict)[0] == verdict


@pytest.mark.parametrize(
    "retry",
    [
        Retry(attempt=3, members=("a", "b")),
        Retry(attempt=5, members=("a", "b")),
        Retry(attempt=4, members=("b", "c")),
        Retry(attempt=4, members=("a", "b", "b")),
        Retry(attempt=4, members=("a", "b", "stranger")),
    ],
)
def test_a_retry_that_cannot_be_is_no_verdict(retry: Retry) -> None:
    assert answer_of_leader(FAILED, retry)[0] is None


def test_who_does_not_hold_the_average_cannot_take_it_over() -> None:
    verdict, _ = answer_of_leader(FAILED, COMMIT)
    assert isinstance(verdict, Abandon)


def test_a_leader_that_only_has_others_wait_is_given_up_and_remembered() -> None:
    verdict, standings = answer_of_leader(FINISHED, Waiting())
    assert verdict is None
    assert standings.those(Standing.HELD_UP) == {"b"}
