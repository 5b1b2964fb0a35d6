"""What is to be expected of a peer, by what it has said and the time that has passed since.

Pure: does not know who said it, nor who lives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Said(Protocol):
    """What a peer says of the rounds to come; see `messages.Heartbeat`."""

    @property
    def ready_in_s(self) -> float | None:
        """Seconds after which it expects to be ready."""

    @property
    def ends_in_s(self) -> float | None:
        """Seconds after which it expects to have trained all it will."""

    @property
    def finishing(self) -> bool:
        """Whether it wants a round with everyone now."""


@dataclass(frozen=True)
class Outlook:
    """What a trainer has said of the rounds to come.

    ready_in_s: None where it cannot say. ends_in_s: until it has made its last step; None where it cannot say, 0.0
    where it is late. ended: whether it has made it; it then comes to a round only where it, or another one that has
    ended, is `finishing`, which is to want one with everyone.
    """

    ready_in_s: float | None
    ends_in_s: float | None
    ended: bool
    finishing: bool

    @classmethod
    def of(cls, said: Said, *, age_s: float) -> Outlook:
        """As of now, by what was said `age_s` ago."""
        return cls(_left(said.ready_in_s, age_s), _left(said.ends_in_s, age_s), said.ends_in_s == 0, said.finishing)


def _left(said_s: float | None, age_s: float) -> float | None:
    """What is left of a wait that was told `age_s` ago."""
    return None if said_s is None else max(0.0, said_s - age_s)
