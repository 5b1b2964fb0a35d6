"""What the node says, as events for people and programs. Does not know what else comes of it."""

from __future__ import annotations

from gossiptrain import events
from gossiptrain.node import control
from gossiptrain.swarm.download import ReceivedState


def of_round(ended: control.RoundEnded, *, final: bool, alone: bool) -> events.RoundCommitted | events.RoundFailed:
    """final: whether it was this peer's last merge. alone: whether no other living peer is known."""
    averaged = ended.averaged
    if averaged is None:
        return events.RoundFailed(reason="no group was ready in time", alone=alone)
    result = averaged.result
    if not result.committed:
        return events.RoundFailed(round=averaged.number, reason=result.reason, alone=alone)
    return events.RoundCommitted(
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


def of_peer(changed: control.PeerChanged) -> events.PeerChanged | None:
    """None where nobody needs to be told."""
    if changed.change == "finishing" or changed.change == "moved":
        return None
    return events.PeerChanged(peer_id=changed.peer, change=changed.change, peers=changed.peers)


def of_joining(received: ReceivedState) -> events.Joined:
    """Whose parameters were taken over."""
    return events.Joined(donor=received.donor, step=received.step, seconds=received.seconds, bytes=received.size_bytes)
