"""What the node has said and the training thread has not yet heard.

Owns the order of messages, and that they are heard in the training thread alone, when it wants to. Does not know what
they mean.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable

from gossiptrain.net.framing import Message


class Inbox:
    """Messages are put in by any thread and handed to `hear` by the one that asks for them."""

    def __init__(self, hear: Callable[[Message], None]) -> None:
        self._hear = hear
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._put_off: deque[Message] = deque()

    def put(self, message: Message) -> None:
        """From any thread."""
        self._messages.put(message)

    def hear_all(self) -> None:
        """Everything that is there, in its order."""
        while self._put_off:
            self._hear(self._put_off.popleft())
        while not self._messages.empty():
            self._hear(self._messages.get_nowait())

    def hear_one(self, *, timeout_s: float) -> None:
        """The next message, if one comes in time."""
        try:
            message = self._put_off.popleft() if self._put_off else self._messages.get(timeout=timeout_s)
        except queue.Empty:
            return
        self._hear(message)

    def hear_only(self, kind: type[Message]) -> None:
        """Those of one kind that are there; all others are put off until the next time that anything is heard."""
        while not self._messages.empty():
            message = self._messages.get_nowait()
            if isinstance(message, kind):
                self._hear(message)
            else:
                self._put_off.append(message)
