"""Where one peer stands, folded from its events.

Owns the figures that all views show; does not know how they are shown. Everything kept is bounded, so that a run may
take weeks.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from gossiptrain.events import (
    Evaluated,
    Event,
    Finished,
    Joined,
    NodeChanged,
    PeerChanged,
    RoundCommitted,
    Started,
    StepDone,
)
from gossiptrain.monitor.words import History

MAX_KNOWN_PEERS = 256


@dataclass
class KnownPeer:
    """Another peer, as this one knows it."""

    peer_id: str
    state: Literal["here", "left", "lost"] = "here"
    rounds: int = 0
    last_met: float | None = None
    """Unix time of the last round together."""
    path: str = ""
    """Over what this peer's bytes went to it then."""


class PeerProgress:
    """The present state of one peer. Feed `handle` with its events, in order; read the attributes."""

    def __init__(self) -> None:
        self.started: Started | None = None
        """With the addresses of now."""
        self.finished: Finished | None = None
        self.latest: StepDone | None = None
        self.evaluated: Evaluated | None = None
        self.merged: Evaluated | None = None
        self.last_round: RoundCommitted | None = None
        self.recent_rounds: deque[RoundCommitted] = deque(maxlen=8)
        self.rounds = 0
        self.bytes_sent = 0
        self.peers = 1
        self.known: dict[str, KnownPeer] = {}
        self.losses = History()
        self.disagreements = History()
        self.node: Literal["ready", "down", "restarted"] = "ready"
        self.time: float | None = None
        """Unix time of the last event."""
        self._pace: deque[tuple[float, int]] = deque(maxlen=50)
        self._first_step_at: float | None = None

    @property
    def state(self) -> Literal["joining", "training", "done"]:
        """`joining` until the first step."""
        if self.finished is not None:
            return "done"
        return "joining" if self.latest is None else "training"

    @property
    def step(self) -> int | None:
        """Inner steps made so far, or None before the first."""
        if self.finished is not None:
            return self.finished.step
        return None if self.latest is None else self.latest.step

    @property
    def loss(self) -> float | None:
        """The last training loss."""
        return None if self.latest is None else self.latest.loss

    @property
    def accuracy(self) -> float | None:
        """The last test accuracy of the peer's own model, 0 to 1."""
        return None if self.evaluated is None else self.evaluated.accuracy

    @property
    def disagreement(self) -> float | None:
        """That of the last committed round, relative to the size of the parameters."""
        return None if self.last_round is None else self.last_round.disagreement

    @property
    def share_done(self) -> float | None:
        """Part of the planned steps that was made, or of the time that is over, whichever ends first: 0 to 1.

        None where neither is planned.
        """
        if self.started is None:
            return None
        shares = [(self.step or 0) / self.started.steps] if self.started.steps else []
        if self.started.max_seconds and self._trained_s is not None:
            shares.append(self._trained_s / self.started.max_seconds)
        return min(1.0, max(shares)) if shares else None

    @property
    def seconds_left(self) -> float | None:
        """Until the last step at the pace of the last ones, or until the time is up, whichever comes first.

        None where neither is known.
        """
        ends = [left for left in (self._steps_left_s, self._time_left_s) if left is not None]
        return min(ends, default=None)

    @property
    def _steps_left_s(self) -> float | None:
        if self.started is None or not self.started.steps or len(self._pace) < 2:
            return None
        (first_time, first_step), (last_time, last_step) = self._pace[0], self._pace[-1]
        if last_time <= first_time or last_step <= first_step:
            return None
        return max(0, self.started.steps - last_step) * (last_time - first_time) / (last_step - first_step)

    @property
    def _time_left_s(self) -> float | None:
        if self.started is None or not self.started.max_seconds or self._trained_s is None:
            return None
        return max(0.0, self.started.max_seconds - self._trained_s)

    @property
    def _trained_s(self) -> float | None:
        """Since the first step that was told; the time before it is hardly any."""
        return None if self._first_step_at is None or self.time is None else self.time - self._first_step_at

    @property
    def bytes_per_s(self) -> float | None:
        """What was sent, over the time since the peer was up; None before anything was."""
        if self.started is None or self.time is None or not self.bytes_sent or self.time <= self.started.time:
            return None
        return self.bytes_sent / (self.time - self.started.time)

    def handle(self, event: Event) -> None:
        """Takes one event into account."""
        self.time = event.time
        match event:
            case Started():
                self.started = event
            case StepDone() | Joined():
                self._stepped(event)
            case RoundCommitted():
                self._met(event)
            case Evaluated(of="merged"):
                self.merged = event
            case Evaluated():
                self.evaluated = event
            case PeerChanged():
                self._peer_changed(event)
            case NodeChanged():
                self.node = event.state
                if event.addresses and self.started is not None:
                    self.started = self.started.model_copy(update={"addresses": event.addresses})
            case Finished():
                self.finished = event
                self.rounds, self.bytes_sent = event.rounds, event.bytes_sent
            case _:
                pass

    def _stepped(self, event: StepDone | Joined) -> None:
        if isinstance(event, StepDone):
            self.latest = event
            self._first_step_at = self._first_step_at or event.time
            self.losses.append(event.loss)
        else:
            self._pace.clear()  # The steps of the donor were not made here.
        self._pace.append((event.time, event.step))

    def _met(self, event: RoundCommitted) -> None:
        self.last_round = event
        self.recent_rounds.append(event)
        self.rounds += 1
        self.bytes_sent += event.bytes_sent
        self.disagreements.append(event.disagreement)
        own = self.started.peer_id if self.started is not None else None
        for peer_id in event.members:
            if peer_id != own:
                peer = self._peer(peer_id)
                peer.rounds += 1
                peer.last_met = event.time
                peer.path = event.paths.get(peer_id, "")

    def _peer_changed(self, event: PeerChanged) -> None:
        self.peers = event.peers
        self._peer(event.peer_id).state = "here" if event.change == "joined" else event.change

    def _peer(self, peer_id: str) -> KnownPeer:
        if peer_id not in self.known and len(self.known) >= MAX_KNOWN_PEERS:
            gone = (known.peer_id for known in self.known.values() if known.state != "here")
            del self.known[next(gone, next(iter(self.known)))]
        return self.known.setdefault(peer_id, KnownPeer(peer_id))
