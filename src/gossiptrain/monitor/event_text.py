"""What a person is told at once, in plain words.

Owns the choice of events that deserve a sentence, the sentences, and that the same thing is not said again and again.
Does not know where the sentences are shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gossiptrain.events import (
    CheckpointFailed,
    Evaluated,
    Event,
    Finished,
    Joined,
    NodeChanged,
    Notice,
    PeerChanged,
    RoundCommitted,
    RoundFailed,
    RoundRefused,
    Started,
)
from gossiptrain.monitor.words import counted, data_size, duration, number, percent, printable, short_peer

_REASONS = {
    "steps": "all steps are done",
    "epochs": "all epochs are done",
    "seconds": "the time is up",
    "interrupted": "stopped on request",
    "non-finite loss": "the loss is no longer a number",
}
_CHANGES = {"joined": "joined", "left": "left", "lost": "does not answer any more"}
MESSAGE_CHARS = 400


@dataclass(frozen=True)
class Sentence:
    """One sentence. Its text is safe to show: one line, of bounded length, without control characters."""

    level: Literal["info", "good", "warning"]
    text: str


class EventText:
    """Turns events into messages; most events deserve none."""

    def __init__(self) -> None:
        self._said: set[str] = set()
        self._said_slow = False

    def tell(self, event: Event) -> Sentence | None:
        """The message for `event`, or None."""
        match event:
            case Started():
                return Sentence("info", _started(event))
            case Joined():
                what = f"{data_size(event.bytes)} in {duration(event.seconds)}"
                source = f"of step {event.step:,} from peer {short_peer(event.donor)}"
                return Sentence("good", f"took the parameters {source} ({what})")
            case PeerChanged():
                if event.change == "joined":
                    self._said.clear()
                return Sentence("info" if event.change != "lost" else "warning", _peer_changed(event))
            case NodeChanged():
                return _node_changed(event)
            case RoundCommitted():
                self._said.clear()
                return Sentence("good", _merged(event)) if event.final else self._round_committed(event)
            case RoundFailed():
                return self._round_failed(event)
            case RoundRefused():
                return self._round_refused(event)
            case Evaluated(of="merged"):
                return Sentence("good", f"merged model: test accuracy {percent(event.accuracy)}")
            case CheckpointFailed():
                # The reason may be the error's own sentence, which begins like this one.
                reason = event.reason.removeprefix(f"The checkpoint of step {event.step} could not be saved: ")
                reason = printable(reason, MESSAGE_CHARS).rstrip(".")
                ending = "" if event.final else "; training goes on"
                return Sentence("warning", f"checkpoint of step {event.step:,} not saved: {reason}{ending}")
            case Notice():
                return Sentence(event.level, printable(event.message, MESSAGE_CHARS))
            case Finished():
                return Sentence("warning" if event.reason == "non-finite loss" else "good", _finished(event))
            case _:
                return None

    def _round_committed(self, event: RoundCommitted) -> Sentence | None:
        """Once in a run, that some of the bytes take the slower way."""
        slow = [peer for peer, path in event.paths.items() if path == "libp2p"]
        if not slow or self._said_slow:
            return None
        self._said_slow = True
        names = ", ".join(short_peer(peer) for peer in slow[:3]) + (" and others" if len(slow) > 3 else "")
        return Sentence(
            "info",
            f"parameters travel to {names} through libp2p, which is slower: no direct connection came about; TCP at "
            "--direct-port has to be open on one of the two sides",
        )

    def _round_failed(self, event: RoundFailed) -> Sentence | None:
        """The first of a row only: a lone peer would say it at every meeting."""
        kind = "alone" if event.alone else "failed"
        if kind in self._said:
            return None
        self._said.add(kind)
        if event.alone:
            return Sentence("info", "waiting for company: no other peer is there yet, training goes on alone")
        reason = printable(event.reason, MESSAGE_CHARS).rstrip(".")
        return Sentence("warning", f"a round did not come about: {reason}; training goes on")

    def _round_refused(self, event: RoundRefused) -> Sentence | None:
        """The first of a row only: under attack every round would say it."""
        if "refused" in self._said:
            return None
        self._said.add("refused")
        applied = "was applied in part only" if event.partly else "was not applied"
        return Sentence(
            "warning",
            f"the average of round {event.round:,} {applied}: it is {number(event.times)} times as far from this model "
            f"as usual and keeps {event.kept:.0%} of it. A member may send wrong values, or this peer was away for "
            "long; training goes on alone until the next round. If this goes on, see docs/security.md; where all peers "
            "are yours --guard off is safe",
        )


def _started(event: Started) -> str:
    place = "first peer of run" if event.first else "joining run"
    if event.peer_id == "alone":
        place = "training alone, without a network: run"
    size = f"{event.parameters:,} parameters on {printable(event.device, 40)}, {event.samples:,} samples"
    return f"{place} {printable(event.run, 60)}: task {printable(event.task, 40)}, {size}"


def _peer_changed(event: PeerChanged) -> str:
    count = "this peer is alone now" if event.peers <= 1 else f"{counted(event.peers, 'peer')} now"
    return f"peer {short_peer(event.peer_id)} {_CHANGES[event.change]}, {count}"


def _node_changed(event: NodeChanged) -> Sentence | None:
    if event.state == "down":
        reason = f" ({printable(event.reason, MESSAGE_CHARS)})" if event.reason else ""
        return Sentence("warning", f"the network process is down{reason}; training goes on alone while it is restarted")
    if event.state == "restarted":
        return Sentence("good", "the network process is up again")
    if event.addresses:
        return Sentence("info", f"this peer is reached at another address now: {printable(event.addresses[0], 200)}")
    return None


def _merged(event: RoundCommitted) -> str:
    return f"final merge of {counted(len(event.members), 'peer')} in {duration(event.seconds)}"


def _finished(event: Finished) -> str:
    figures = [f"{counted(event.step, 'step')} in {duration(event.seconds)}", counted(event.rounds, "round")]
    figures.append(f"{data_size(event.bytes_sent)} sent")
    if event.loss is not None:
        figures.append(f"loss {number(event.loss)}")
    if event.accuracy is not None:
        figures.append(f"test accuracy {percent(event.accuracy)}")
    return f"finished, {_REASONS[event.reason]}: {', '.join(figures)}"
