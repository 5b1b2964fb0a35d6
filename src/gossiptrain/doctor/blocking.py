"""Functions that block, run so that nobody has to wait for them.

Owns one thread for each call: a resolver, a disk or an import that hangs holds up neither the other checks nor the end
of the program, as a pool would. Does not know what is called.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

ResultT = TypeVar("ResultT")


async def off_loop(function: Callable[[], ResultT]) -> ResultT:
    """What `function` returns or raises. Where this is cancelled, its thread goes on by itself."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[ResultT] = loop.create_future()

    def tell(result: ResultT | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = function()
        except Exception as raised:  # noqa: BLE001  it is raised again where it is awaited
            error = raised
        try:
            loop.call_soon_threadsafe(tell, result, error)
        except RuntimeError:
            return  # the loop has ended, and nobody wants to know any more

    threading.Thread(target=run, name="check that may block", daemon=True).start()
    return await done
