"""Events as a small run makes them, for the tests of all views."""

from __future__ import annotations

from typing import Any

from gossiptrain.events import (
    Evaluated,
    Event,
    Finished,
    PeerChanged,
    RoundCommitted,
    RoundFailed,
    Started,
    StepDone,
)

OWN = "12D3KooWAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAownown"
OTHER = "12D3KooWBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBother1"
THIRD = "12D3KooWCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCother2"
HOSTILE = "\x1b[2J\x1b]0;owned\x07[red]bold[/red]\u202eabc\r\n"
"""What a peer might send to move the cursor, change colours or turn the direction of writing."""


def started(**more: Any) -> Started:
    values: dict[str, Any] = {
        "peer_id": OWN,
        "run": "digits",
        "task": "digits",
        "addresses": (f"/ip4/127.0.0.1/tcp/4011/p2p/{OWN}", f"/ip4/192.168.1.7/tcp/4011/p2p/{OWN}"),
        "device": "cpu",
        "parameters": 52_650,
        "samples": 359,
        "first": True,
    }
    return Started(**{"time": 1000.0, **values, **more})


def step(number: int, *, loss: float = 0.5, time: float | None = None) -> StepDone:
    """Step `number`; ten are made in a second."""
    moment = 1000.0 + number / 10 if time is None else time
    return StepDone(time=moment, step=number, epoch=number / 12, loss=loss, learning_rate=0.1, samples_per_s=5123.4)


def round_of(number: int, *members: str, disagreement: float | None = 0.0042, **more: Any) -> RoundCommitted:
    values: dict[str, Any] = {
        "seconds": 0.083,
        "formation_seconds": 0.02,
        "bytes_sent": 421_000,
        "time": 1000.0 + number,
    }
    return RoundCommitted(**{"round": number, "members": members, "disagreement": disagreement, **values, **more})


def evaluated(accuracy: float, *, of: Any = "peer") -> Evaluated:
    return Evaluated(time=1100.0, step=50, loss=0.3, accuracy=accuracy, samples=360, of=of)


def peer(peer_id: str, change: Any, peers: int) -> PeerChanged:
    return PeerChanged(time=1005.0, peer_id=peer_id, change=change, peers=peers)


def alone() -> RoundFailed:
    return RoundFailed(time=1006.0, reason="nobody is there", alone=True)


def finished(**more: Any) -> Finished:
    values: dict[str, Any] = {"step": 100, "seconds": 41.2, "rounds": 3, "bytes_sent": 1_300_000, "reason": "steps"}
    return Finished(**{"time": 1041.2, **values, **more})


def short_run() -> list[Event]:
    """Alone at first, then with two others of which one is lost, to the end."""
    return [
        started(steps=100),
        alone(),
        step(10, loss=2.0),
        peer(OTHER, "joined", 2),
        peer(THIRD, "joined", 3),
        round_of(1, OWN, OTHER, THIRD, disagreement=0.2),
        step(20, loss=1.0),
        round_of(2, OWN, OTHER, THIRD, disagreement=0.02),
        evaluated(0.912),
        peer(THIRD, "lost", 2),
        step(50, loss=0.25),
        round_of(3, OWN, OTHER, disagreement=0.0042),
        evaluated(0.972, of="merged"),
    ]
