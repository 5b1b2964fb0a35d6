"""What happens when a loop stumbles over what came from outside."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gossiptrain.errors import NodeFailedError
from gossiptrain.net.transport import Clock
from gossiptrain.net.virtual.time import run_virtual
from gossiptrain.swarm.supervision import MAX_RESTARTS, PROVOKED, WITHIN_S, supervised
from tests.swarm.swarms import TIMING, swarm_of
from tests.transports import MakeTransport, run_on


class Loop:
    """Raises what it is told to, one after the other, and then returns."""

    def __init__(self, *errors: BaseException, every_s: float = 0.0) -> None:
        self._errors = list(errors)
        self._every_s = every_s
        self.starts = 0

    async def run(self) -> None:
        self.starts += 1
        await asyncio.sleep(self._every_s)
        if self._errors:
            raise self._errors.pop(0)


def supervise(loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Until the loop returns or the supervisor raises."""
    run_virtual(supervised(loop, name="the test", clock=Clock()))


@pytest.mark.parametrize("kind", PROVOKED)
def test_what_a_peer_can_provoke_is_told_and_the_loop_begins_again(
    kind: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    loop = Loop(kind("secret words"), ExceptionGroup("", [kind("secret words")]))
    supervise(loop.run)
    assert loop.starts == 3
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(told) == 2
    assert all("the test" in text and kind.__name__ in text and "secret" not in text for text in told)
    assert all(record.exc_info is None for record in caplog.records if record.levelno >= logging.ERROR)


@pytest.mark.parametrize("error", [TypeError("a"), AttributeError("b"), MemoryError(), AssertionError("c")])
def test_every_other_error_ends_the_peer_at_once(error: Exception) -> None:
    alone, together = Loop(error), Loop(ExceptionGroup("", [ValueError("from a peer"), error]))
    with pytest.raises(type(error)):
        supervise(alone.run)
    with pytest.raises(BaseExceptionGroup) as caught:
        supervise(together.run)
    assert caught.group_contains(type(error), depth=1)
    assert not caught.group_contains(ValueError)
    assert alone.starts == together.starts == 1


def test_a_loop_that_stumbles_again_and_again_is_given_up_in_words() -> None:
    loop = Loop(*[ValueError("x")] * 100)
    with pytest.raises(NodeFailedError, match=r"the test stumbled 6 times"):
        supervise(loop.run)
    assert loop.starts == MAX_RESTARTS + 1


def test_one_that_stumbles_now_and_then_goes_on() -> None:
    loop = Loop(*[ValueError("x")] * 20, every_s=WITHIN_S / MAX_RESTARTS)
    supervise(loop.run)
    assert loop.starts == 21


def test_a_peer_goes_on_where_a_missing_check_made_its_membership_stumble(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            table = swarm.peers["a"].swarm.membership._table
            expire, left = table.expire, [ValueError("from a peer"), KeyError("from a peer")]

            def stumble() -> None:
                if left:
                    raise left.pop()
                expire()

            monkeypatch.setattr(table, "expire", stumble)
            await asyncio.sleep(2 * TIMING.lifetime_s)
            assert not left
            assert all(len(peer.swarm.membership.live()) == 2 for peer in swarm.peers.values())

    run_on("virtual", scenario)


def test_a_peer_whose_membership_stumbles_again_and_again_ends_with_one_error_in_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            peer = swarm.peers["a"]
            assert peer.background is not None

            def stumble() -> None:
                raise ValueError("from a peer")

            monkeypatch.setattr(peer.swarm.membership._table, "expire", stumble)
            await asyncio.wait([peer.background])
            with pytest.raises(NodeFailedError, match="the membership stumbled"):
                peer.background.result()

    run_on("virtual", scenario)
