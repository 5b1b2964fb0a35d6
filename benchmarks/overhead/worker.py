"""One peer of `benchmarks.overhead`, in a process of its own: trains, and tells on stdout what it saw, as JSON lines.

Owns the training loop and its clock. Started with a `Place` as JSON; told what to do by lines on stdin:

    → {"event": "ready", ...}      the system is up
    ← go SECONDS                   train for so long
    → {"event": "measured", ...}   every step's end and every round's, in seconds after `go`
    ← end                          leave the swarm and end

The end of stdin, when the parent has died, ends this process, too. Does not know the other peers, nor what becomes of
the figures.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from benchmarks.overhead.systems import BATCH, Member, Place, member
from gossiptrain.training.tasks.resnet import build_resnet

SIDE_PIXELS = 64
IDLE_S = 0.05
RESNET18_BODY_ELEMENTS = 11_176_512


class Words:
    """Lines from the parent. Read without a thread and without a buffer: hivemind forks this process."""

    def __init__(self) -> None:
        self._pending = b""

    def next(self, this: Member) -> list[str]:
        """Waits for a line, and has the system do its idle work meanwhile; returns its words."""
        while b"\n" not in self._pending:
            if self._can_read(IDLE_S):
                self._pending += self._read()
            this.idle()
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode().split()

    def check_parent(self) -> None:
        """Ends this process where the parent has gone."""
        if self._can_read(0.0):
            self._pending += self._read()

    @staticmethod
    def _can_read(timeout_s: float) -> bool:
        return bool(select.select([0], [], [], timeout_s)[0])

    @staticmethod
    def _read() -> bytes:
        read = os.read(0, 4096)
        if not read:
            raise SystemExit(1)
        return read


def build_model(model_mb: int) -> tuple[nn.Module, int]:
    """ResNet-18 with as many classes as make it `model_mb` megabytes of float32; also returns how many."""
    classes = max(2, (model_mb * 1_000_000 // 4 - RESNET18_BODY_ELEMENTS) // 513)
    model = build_resnet("resnet18", classes=classes)
    for parameter in model.parameters():
        # hivemind 1.1 fails to average weights that lie in memory channel by channel.
        parameter.data = parameter.data.contiguous()
    return model, classes


def train(this: Member, model: nn.Module, *, classes: int, seconds: float, words: Words) -> dict[str, Any]:
    """Trains on random images. The time of a step is that from the end of the one before, whatever it was spent on."""
    images = torch.randn(16, BATCH, 3, SIDE_PIXELS, SIDE_PIXELS)
    labels = torch.randint(classes, (16, BATCH))
    ends_s: list[float] = []
    started_s = time.perf_counter()
    now_s = started_s
    while now_s < started_s + seconds:
        at = len(ends_s) % len(images)
        this.optimizer.zero_grad()
        functional.cross_entropy(model(images[at]), labels[at]).backward()  # type: ignore[no-untyped-call]
        this.optimizer.step()
        now_s = time.perf_counter()
        ends_s.append(now_s)
        words.check_parent()
    return {
        "step_ends_s": [round(end_s - started_s, 5) for end_s in ends_s],
        "rounds_s": [round(round_s - started_s, 5) for round_s in this.rounds_s if started_s <= round_s <= now_s],
        "failed_rounds": this.failed_rounds,
    }


def tell(event: str, **what: Any) -> None:
    """Writes one line."""
    sys.stdout.write(json.dumps({"event": event, **what}) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Lives through one turn."""
    place = Place(**json.loads(sys.argv[1]))
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, classes = build_model(place.model_mb)
    words = Words()
    called_s = time.perf_counter()
    with member(model, place) as this:
        ready_s = time.perf_counter() - called_s
        tell("ready", addresses=this.addresses, ready_s=ready_s, reachable_s=this.reachable_s)
        _, seconds = words.next(this)
        tell("measured", **train(this, model, classes=classes, seconds=float(seconds), words=words))
        words.next(this)


if __name__ == "__main__":
    main()
