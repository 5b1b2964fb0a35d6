"""Loops that go on for as long as the peer does.

Owns what happens when one of them stumbles over something that came from outside: it is told and begun again, so and so
often; after that, and for every other error at once, the peer ends. Does not know what the loops do.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from gossiptrain.errors import NodeFailedError
from gossiptrain.net.transport import Clock

_logger = logging.getLogger(__name__)
PROVOKED = (ValueError, LookupError, ArithmeticError, RecursionError, ConnectionError, TimeoutError)
"""What words of others can raise where a check is missing. Everything else is an error of this program or computer."""
MAX_RESTARTS = 5
WITHIN_S = 60.0
"""A loop that stumbles more often within so long is given up."""
PAUSE_S = 0.5


async def supervised(loop: Callable[[], Coroutine[Any, Any, None]], *, name: str, clock: Clock) -> None:
    """Runs `loop`, and again whenever it raises one of `PROVOKED`, until it returns.

    Raises NodeFailedError where the restarts are used up: the trainer tells that and starts another node.
    """
    stumbled_s: deque[float] = deque(maxlen=MAX_RESTARTS + 1)
    while True:
        stumble: BaseException | None = None
        try:
            await loop()
        except* PROVOKED as errors:
            stumble = _first(errors)
        if stumble is None:
            return
        kind, now_s = type(stumble).__name__, clock.now()
        _logger.error("%s stumbled over what another peer said (%s) and begins again", name, kind)
        _logger.debug("%s stumbled", name, exc_info=stumble)
        stumbled_s.append(now_s)
        if len(stumbled_s) > MAX_RESTARTS and now_s - stumbled_s[0] <= WITHIN_S:
            text = f"{name} stumbled {len(stumbled_s)} times within {WITHIN_S:g} s over what another peer said ({kind})"
            raise NodeFailedError(
                f"{text}.",
                cause="A peer says what no honest one does, and a check of it is missing here.",
                remedy="The node starts anew. Report this, with the run's log at the level DEBUG.",
            ) from stumble
        await clock.sleep(PAUSE_S)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
