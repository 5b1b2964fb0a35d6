"""What the node says, told to people and programs as events. Does not know what else comes of it."""

from __future__ import annotations

from gossiptrain import events
from gossiptrain.node import control
from gossiptrain.swarm.download import ReceivedState
from gossiptrain.training.bus import EventBus
from gossiptrain.training.guarding import Judgement

NO_MOMENTS = (
    "no peer gave the second moments of its optimizer: the first steps of Adam are larger here than those of the others"
)
TOO_FAR_APART = 0.1
"""Above this error of averaged adapters their owner is told."""


def tell_round(bus: EventBus, ended: control.RoundEnded, *, final: bool, alone: bool) -> None:
    """final: whether it was this peer's last merge. alone: whether no other living peer is known."""
    averaged = ended.averaged
    if averaged is None:
        bus.emit(events.RoundFailed(reason="no group was ready in time", alone=alone))
        return
    result = averaged.result
    if not result.committed:
        bus.emit(events.RoundFailed(round=averaged.number, reason=result.reason, alone=alone))
        return
    bus.emit(
        events.RoundCommitted(
            round=averaged.number,
            members=result.members,
            seconds=result.seconds,
            formation_seconds=averaged.formation_seconds,
            bytes_sent=result.bytes_sent,
            disagreement=result.disagreement,
            attempts=result.attempts,
            paths=ended.paths,
            final=final,
        )
    )


def tell_refusal(bus: EventBus, number: int, judged: Judgement) -> None:
    """Nothing, or only a part, of the average of this round was taken."""
    bus.emit(events.RoundRefused(round=number, times=judged.times, kept=judged.kept, partly=judged.taken == "part"))


def tell_peer(bus: EventBus, changed: control.PeerChanged) -> None:
    """What nobody needs to be told is left out."""
    if changed.change in ("joined", "left", "lost"):
        bus.emit(events.PeerChanged(peer_id=changed.peer, change=changed.change, peers=changed.peers))


def tell_joining(bus: EventBus, received: ReceivedState, *, moments_bytes: int) -> None:
    """Whose parameters were taken over, and how much of second moments after them."""
    bus.emit(
        events.Joined(
            donor=received.donor,
            step=received.step,
            seconds=received.seconds,
            bytes=received.size_bytes,
            moments_bytes=moments_bytes,
        )
    )


def tell_adapters(bus: EventBus, *, before: float | None, now: float | None) -> None:
    """before, now: the errors of averaged adapters in the last two rounds; see `AdapterPairs.bilinear_error`."""
    if now is not None and now > TOO_FAR_APART >= (before or 0.0):
        message = f"{now:.0%} of what the adapters do was lost by averaging their matrices apart, since the peers were "
        message += "far from each other. Rounds after fewer steps keep them together: every_steps."
        bus.emit(events.Notice(level="warning", message=message))
