"""Rounds of two peers whose models are on one card, the copies of a round, and what steps lose by them.

Both train by themselves, then with gossip, and by themselves again, always at the same time, since they share the card:
steps kept are those with gossip by the mean of those before and after. Owns the order and the figures. Does not know
how a peer trains.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import torch

from benchmarks.gpu.figures import Figure, Place, run_part, wait_for_device
from benchmarks.speaking_process import SpeakingProcess
from gossiptrain.node.memory import SharedVectors
from gossiptrain.training.model.host_copies import HostCopies

WAIT_S = 120.0
KEPT = 0.95
"""Of its steps a peer keeps so many, with a round in every 5 s."""
LONGEST_EXTRA_S = 0.1
"""By so much no step is longer than the longest one without gossip."""


def measure(place: Place) -> Iterator[Figure]:
    """All figures."""
    megabytes = 4 if place.is_small else 100
    yield from _copies(place.device, megabytes)
    for codec in ("fp32", "int8"):
        yield from _trained_together(place, megabytes, codec)


def _copies(device: torch.device, megabytes: int) -> Iterator[Figure]:
    """To the memory that is shared with the node, and back."""
    elements = megabytes * 250_000
    memory = SharedVectors.create(elements, state=elements)
    vectors = torch.from_numpy(memory.snapshot), torch.from_numpy(memory.average)
    copies = HostCopies(vectors)
    copies.serve(device)
    values = torch.ones(elements, device=device)
    to_host_s, from_host_s = [], []
    for _ in range(10):
        wait_for_device(device)
        began_s = time.perf_counter()
        copies.to_host([(values, vectors[0])])
        wait_for_device(device)
        copied_s = time.perf_counter()
        copies.from_host(vectors[1], device)
        wait_for_device(device)
        to_host_s.append(copied_s - began_s)
        from_host_s.append(time.perf_counter() - copied_s)
    copies.close()
    yield Figure(f"{megabytes} MB to the host", 1000 * statistics.median(to_host_s), "ms")
    yield Figure(f"{megabytes} MB from the host", 1000 * statistics.median(from_host_s), "ms")
    del vectors, copies
    memory.close()


def _trained_together(place: Place, megabytes: int, codec: str) -> Iterator[Figure]:
    seconds, every_s = (2.0, 0.5) if place.is_small else (20.0, 5.0)
    with ExitStack() as stack:
        command = [sys.executable, "-m", "benchmarks.gpu.peer", str(place.device), str(megabytes)]
        peers = [SpeakingProcess(command) for _ in range(2)]
        for peer in peers:
            stack.callback(peer.close)
        for peer in peers:
            peer.wait_for("ready", longest_s=WAIT_S)
        before = _train(peers, 0.4 * seconds)
        addresses: list[str] = []
        for peer in peers:
            _tell(peer, do="join", initial=addresses, codec=codec, every_s=every_s)
            addresses = addresses or [peer.wait_for("up", longest_s=WAIT_S)["address"]]
        peers[1].wait_for("up", longest_s=WAIT_S)
        together = _train(peers, seconds)
        for peer in peers:
            _tell(peer, do="leave")
        for peer in peers:
            peer.wait_for("left", longest_s=WAIT_S)
        after = _train(peers, 0.4 * seconds)
    rounds = [round_s for found in together for round_s in found["rounds"]]
    speeds = [statistics.fmean(found["steps_per_s"] for found in each) for each in (before, together, after)]
    kept = speeds[1] / statistics.fmean((speeds[0], speeds[2]))
    longest = [max(found["longest_s"] for found in each) for each in (before, together, after)]
    extra_s = longest[1] - max(longest[0], longest[2])
    judged = not place.is_small
    yield Figure(f"rounds, {megabytes} MB, {codec}", len(rounds), "", holds=bool(rounds))
    if rounds:
        yield Figure(f"a round, {megabytes} MB, {codec}", 1000 * statistics.median(rounds), "ms")
    yield Figure(f"steps kept, {codec}", 100 * kept, "%", holds=kept >= KEPT if judged else None)
    is_short = extra_s <= LONGEST_EXTRA_S if judged else None
    yield Figure(f"longest step beyond plain, {codec}", 1000 * extra_s, "ms", holds=is_short)


def _tell(peer: SpeakingProcess, **what: Any) -> None:
    peer.tell(json.dumps(what))


def _train(peers: Sequence[SpeakingProcess], seconds: float) -> list[dict[str, Any]]:
    """All at the same time."""
    turns = [len(peer.said("trained")) for peer in peers]
    for peer in peers:
        _tell(peer, do="train", seconds=seconds)
    longest_s = WAIT_S + seconds
    told = zip(peers, turns, strict=True)
    return [peer.wait_for("trained", longest_s=longest_s, number=turn) for peer, turn in told]


if __name__ == "__main__":
    sys.exit(run_part(measure))
