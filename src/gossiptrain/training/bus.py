"""The bus that hands the events of a peer on to whoever subscribes.

Owns the order, the threads, and what becomes of subscribers that fail. Does not know what events mean.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from gossiptrain.events import Event, Notice

_logger = logging.getLogger(__package__)
EventCallback: TypeAlias = Callable[[Event], None]


class EventBus:
    """Hands each event to all subscribers, in the thread that emits it, one event at a time and in one order for all.

    Warnings that nobody has subscribed to are logged. A subscriber may itself emit; such an event follows the one being
    handed on. A subscriber that raises OSError, a closed pipe or a full disk, is dropped, and a notice tells the others
    once. Any other exception is a mistake of the subscriber and reaches the emitter.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._subscribers: list[tuple[str, EventCallback]] = []
        self._pending: deque[Event] = deque()
        self._handing_on = False

    def subscribe(self, callback: EventCallback, *, name: str = "a view") -> Callable[[], None]:
        """From now on calls `callback` with each event; returns what ends that. `name` is for the notice on failure."""
        subscriber = (name, callback)
        with self._lock:
            self._subscribers.append(subscriber)

        def unsubscribe() -> None:
            with self._lock:
                self._subscribers = [other for other in self._subscribers if other is not subscriber]

        return unsubscribe

    def emit(self, event: Event) -> None:
        """Hands `event` on; returns when all subscribers have seen it, or at once where a subscriber emits."""
        with self._lock:
            self._pending.append(event)
            if self._handing_on:
                return
            self._handing_on = True
            try:
                while self._pending:
                    self._hand_on(self._pending.popleft())
            finally:
                self._handing_on = False

    def _hand_on(self, event: Event) -> None:
        if not self._subscribers and isinstance(event, Notice) and event.level == "warning":
            _logger.warning(event.message)
        for subscriber in self._subscribers.copy():
            if not any(subscriber is other for other in self._subscribers):
                continue  # It was unsubscribed by one that came before it.
            name, callback = subscriber
            try:
                callback(event)
            except OSError as error:
                self._subscribers = [other for other in self._subscribers if other is not subscriber]
                self._pending.append(Notice(level="warning", message=f"{name} is closed: {error.strerror or error}"))
