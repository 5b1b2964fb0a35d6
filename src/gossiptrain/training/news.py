"""What the node says, as events for people and programs. Does not know what else comes of it."""

from __future__ import annotations

from gossiptrain import events
from gossiptrain.node import control


def of_round(ended: control.RoundEnded, *, final: bool, alone: bool) -> events.RoundCommitted | events.RoundFailed:
    """final: whether it was this peer's last merge. alone: whether no other living peer is known."""
    if not ended.committed:
        number = ended.round if ended.found_group else None
        return events.RoundFailed(round=number, reason=ended.reason, alone=alone)
    return events.RoundCommitted(
        round=ended.round,
        members=ended.members,
        seconds=ended.seconds,
        formation_seconds=ended.formation_seconds,
        bytes_sent=ended.bytes_sent,
        disagreement=ended.disagreement,
        attempts=ended.attempts,
        lanes=ended.lanes,
        final=final,
    )


def of_peer(changed: control.PeerChanged) -> events.PeerChanged | None:
    """None where nobody needs to be told."""
    if changed.change == "finishing":
        return None
    return events.PeerChanged(peer_id=changed.peer, change=changed.change, peers=changed.peers)


def of_joining(donor: str, joined: control.Joined) -> events.Joined:
    """Whose parameters were taken over."""
    return events.Joined(donor=donor, step=joined.step, seconds=joined.seconds, bytes=joined.size_bytes)
