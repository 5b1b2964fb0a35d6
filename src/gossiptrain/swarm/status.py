"""What this peer shows of itself to whoever watches the swarm, and only when it is asked.

Owns the figures, their histories in a bounded number of points, and the answer. Whoever looks at any peer so finds the
same swarm with its past, and where nobody looks nothing travels. Does not know who trains, nor how it is shown.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from gossiptrain.core.points import LARGEST, Points, rounded
from gossiptrain.net.framing import receive_message, send_message
from gossiptrain.net.transport import PeerId, Stream
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.intake import as_count
from gossiptrain.swarm.messages import MAX_MEMBERS
from gossiptrain.swarm.round import RoundResult
from gossiptrain.swarm.status_messages import (
    MAX_MEETINGS,
    MAX_POINTS,
    SHOWN_KEY_LENGTH,
    Meeting,
    MemberStatus,
    StatusRequest,
)

STATUS = "/gossiptrain/status"
STATUS_LIMIT_BYTES = 16 << 10


def shown_key(peer: str) -> str:
    """The end of a peer's id, by which it is named in what is shown."""
    return peer[-SHOWN_KEY_LENGTH:]


class OwnStatus:
    """The figures of this peer; members may ask for them."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._clock = admission.transport.clock
        self._loss: float | None = None
        self._rounds = 0
        self._bytes_sent = 0
        self._bytes_per_s = 0.0
        self._meetings: deque[Meeting] = deque(maxlen=MAX_MEETINGS)
        self._losses = Points(MAX_POINTS)
        self._disagreements = Points(MAX_POINTS)

    @property
    def loss(self) -> float | None:
        """The last that was told."""
        return self._loss

    async def open(self) -> None:
        """From now on answers members."""
        await self._admission.serve(STATUS, self._serve, to_watchers=True)

    def note_loss(self, step: int, loss: float) -> None:
        """The training loss at a step."""
        if math.isfinite(loss):
            self._loss = rounded(loss)
            self._losses.append(as_count(step), loss)

    def note_round(self, number: int, result: RoundResult) -> None:
        """A round that this peer took part in; only those that committed are shown."""
        if not result.committed:
            return
        self._rounds += 1
        self._bytes_sent += result.bytes_sent
        self._bytes_per_s = rounded(result.bytes_sent / result.seconds) if result.seconds > 0 else 0.0
        disagreement = result.disagreement
        if disagreement is not None:
            self._disagreements.append(as_count(number), disagreement)
            disagreement = rounded(disagreement)
        self._meetings.append(Meeting(round=as_count(number), members=_keys(result.members), disagreement=disagreement))

    def answer(self, request: StatusRequest) -> MemberStatus:
        """What is shown to who knows of so many rounds already."""
        begins_anew = request.rounds == 0 or request.rounds > self._rounds
        new = MAX_MEETINGS if begins_anew else min(MAX_MEETINGS, self._rounds - request.rounds)
        return MemberStatus(
            loss=self._loss,
            rounds=as_count(self._rounds),
            bytes_sent=as_count(self._bytes_sent),
            bytes_per_s=min(self._bytes_per_s, LARGEST),
            meetings=tuple(self._meetings)[len(self._meetings) - min(new, len(self._meetings)) :],
            losses=tuple(self._losses.values) if begins_anew else (),
            disagreements=tuple(self._disagreements.values) if begins_anew else (),
        )

    async def _serve(self, stream: Stream) -> None:
        async with self._clock.timeout(self._admission.timing.dial_timeout_s):
            request = await receive_message(stream, StatusRequest)
            await send_message(stream, self.answer(request), limit_bytes=STATUS_LIMIT_BYTES)


def _keys(members: Sequence[PeerId]) -> tuple[str, ...]:
    return tuple(map(shown_key, members[:MAX_MEMBERS]))
