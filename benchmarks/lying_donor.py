"""What it costs to be given garbage for the parameters of a swarm: the joiner, and those whom it joins.

    python -m benchmarks.lying_donor
    python -m benchmarks.lying_donor --guards clip --scales 3 --repetitions 10

Five own loops train on digits, each with a node and a libp2p daemon of its own; a sixth joins them in the middle and
makes as many steps again. One of the five lies: it gives joiners normal random values of the scale that is told, and
says that it stands where most others stand, so that it is asked first as often as possible. `none` is a donor that does
not lie.

`refuted`: how often the joiner was given garbage and saw that it is unlike what others hold; `believed`: how often it
began with it. Losses are those on samples that nobody trains on. `first`: the joiner's with what it was given.
`worst`: the worst of the honest peers' mean while the joiner was there. `joiner`, `others`: at the end. `rounds`: of
the joiner, until its loss was at most 1.5 times that of the others. `alone`: of a peer that made as many steps by
itself as the joiner, and each of those before it. Medians; exits with 1 where that of the joiners ends above `alone`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from benchmarks.digits import BATCH, Digits, network
from benchmarks.measure import machine, show_table, whole_number, write_json
from gossiptrain import Gossip, GossipSettings, NetworkSettings, events, gossip
from gossiptrain.config import GuardName
from gossiptrain.core.averaging import Vector
from gossiptrain.node import control

PEERS = 5
STEPS_BEFORE = 150
STEPS_AFTER = 150
STEP_S = 0.03
EVERY_STEPS = 10
WITHIN = 1.5
WAIT_S = 120.0
NETWORK = NetworkSettings(host_maddrs=("/ip4/127.0.0.1/tcp/0",), preset="lan", open=True)


@dataclass(frozen=True)
class Point:
    """Where a loop stood. at_s: monotonic."""

    at_s: float
    rounds: int
    loss: float


class Loop:
    """One thread that trains, in a swarm or alone."""

    def __init__(self, number: int, data: Digits) -> None:
        self.steps = 0
        self.points: list[Point] = []
        self.donor = ""
        self.refuted = False
        self.swarm: Gossip | None = None
        self.stopped = threading.Event()
        self.after_step: Callable[[], None] = lambda: None
        self._data = data
        torch.manual_seed(number)
        self._draws = torch.Generator().manual_seed(number)
        self._model = network()
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=0.05, momentum=0.9)
        self._thread: threading.Thread | None = None

    def train_alone(self, steps: int) -> float:
        """The loss after so many steps."""
        for _ in range(steps):
            self._step()
        return self._data.loss(self._model)

    def start(self, guard: GuardName, first: Loop | None) -> None:
        """Begins to train in the swarm of `first`; returns once it is there. Raises RuntimeError where it is not."""
        self._thread = threading.Thread(target=self._train, args=(guard, first))
        self._thread.start()
        until(lambda: self.swarm is not None or not self.is_running)
        if self.swarm is None:
            raise RuntimeError("a loop has ended before it began")

    @property
    def is_running(self) -> bool:
        """Whether its thread has not ended."""
        return self._thread is not None and self._thread.is_alive()

    def join(self) -> None:
        """Waits for the end of its thread."""
        if self._thread is not None:
            self._thread.join(WAIT_S)

    def _train(self, guard: GuardName, first: Loop | None) -> None:
        known = first.swarm.addresses[:1] if first is not None and first.swarm is not None else ()
        with gossip(
            self._model,
            self._optimizer,
            run="lying donor",
            task="digits",
            initial_peers=known,
            network=NETWORK,
            settings=GossipSettings(every_steps=EVERY_STEPS, guard=guard),
            samples_per_step=BATCH,
            on_event=self._note,
        ) as swarm:
            self.swarm = swarm
            self.points.append(Point(time.monotonic(), 0, self._data.loss(self._model)))
            while not self.stopped.is_set():
                began_s = time.monotonic()
                self._step()
                if self.steps % EVERY_STEPS == 0:
                    self.points.append(Point(time.monotonic(), swarm.rounds, self._data.loss(self._model)))
                time.sleep(max(0.0, STEP_S - (time.monotonic() - began_s)))

    def _step(self) -> None:
        self._data.step(self._model, self._optimizer, draws=self._draws)
        self.steps += 1
        self.after_step()

    def _note(self, event: events.Event) -> None:
        if isinstance(event, events.Joined):
            self.donor = event.donor
        if isinstance(event, events.Notice) and "unlike those of others" in event.message:
            self.refuted = True


def begin_to_lie(liar: Loop, honest: list[Loop], *, scale: float) -> None:
    """From now on the liar gives garbage to joiners, and says that it is where most of the others are."""
    assert liar.swarm is not None
    session = liar.swarm._session
    replica, take = session.rounds.replica, session._take_average

    def write_garbage(vector: Vector, *, fragment: int = 0) -> None:
        vector[:] = scale * np.random.default_rng(fragment).standard_normal(len(vector))

    def take_and_keep_none(number: int, samples: tuple[int, ...]) -> bool:
        taken = take(number, samples)
        # Its node then has no average to give away, and asks for the trainer's own state.
        session._node.send(control.AverageRefused())
        return taken

    def stand_in_the_middle() -> None:
        session.progress.step = statistics.median_low([loop.swarm.step for loop in honest if loop.swarm is not None])

    replica.write_state = write_garbage  # type: ignore[method-assign]
    liar.after_step = stand_in_the_middle
    session._take_average = take_and_keep_none  # type: ignore[method-assign]


@dataclass(frozen=True)
class Outcome:
    """Of one joiner; see the text of this file. rounds: None where it never came so near."""

    guard: str
    scale: float
    refuted: bool
    believed: bool
    first: float
    worst: float
    joiner: float
    others: float
    rounds: int | None
    alone: float


@dataclass
class Trial:
    """One swarm that somebody joins."""

    data: Digits
    guard: GuardName
    scale: float
    seed: int
    loops: list[Loop] = field(default_factory=list)

    def run(self) -> Outcome:
        """From the first peer to the end of all."""
        try:
            return self._run()
        finally:
            for loop in self.loops:
                loop.stopped.set()
            for loop in self.loops:
                loop.join()

    def _run(self) -> Outcome:
        for number in range(PEERS):
            self._start(number)
        *honest, liar = self.loops
        if self.scale:
            begin_to_lie(liar, honest, scale=self.scale)
        until(lambda: min(loop.steps for loop in self.loops) >= STEPS_BEFORE)
        joiner = self._start(PEERS)
        until(lambda: bool(joiner.donor))
        until(lambda: joiner.steps >= STEPS_AFTER)
        assert liar.swarm is not None
        return self._outcome(honest, joiner, believed=bool(self.scale) and joiner.donor == liar.swarm.peer_id)

    def _start(self, number: int) -> Loop:
        loop = Loop(100 * self.seed + number, self.data)
        loop.start(self.guard, self.loops[0] if self.loops else None)
        self.loops.append(loop)
        return loop

    def _outcome(self, honest: list[Loop], joiner: Loop, *, believed: bool) -> Outcome:
        points = list(joiner.points)
        others = [[point for point in loop.points if point.at_s >= points[0].at_s] for loop in honest]
        means = [statistics.fmean(point.loss for point in at_once) for at_once in zip(*others, strict=False)]
        alone = Loop(100 * self.seed + PEERS, self.data).train_alone(STEPS_BEFORE + STEPS_AFTER)
        near = (point.rounds for point in points[1:] if point.loss <= WITHIN * means[-1])
        return Outcome(
            guard=self.guard,
            scale=self.scale,
            refuted=joiner.refuted,
            believed=believed,
            first=points[0].loss,
            worst=max(means),
            joiner=points[-1].loss,
            others=means[-1],
            rounds=next(near, None),
            alone=alone,
        )


def until(condition: Callable[[], bool]) -> None:
    """Waits for it. Raises TimeoutError."""
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError("a loop stands still")
        time.sleep(0.02)


def median(outcomes: list[Outcome], name: str) -> float:
    """Of one of their losses."""
    return statistics.median(float(getattr(each, name)) for each in outcomes)


def row(outcomes: list[Outcome]) -> list[str]:
    """Medians, and the worst number of rounds."""
    rounds = [each.rounds for each in outcomes if each.rounds is not None]
    told = f"{statistics.median(rounds):g}, at most {max(rounds)}" if len(rounds) == len(outcomes) else "never"
    losses = [f"{median(outcomes, name):.2f}" for name in ("first", "worst", "joiner", "others", "alone")]
    scale = f"{outcomes[0].scale:g}" if outcomes[0].scale else "none"
    counts = [f"{sum(getattr(each, name) for each in outcomes)} of {len(outcomes)}" for name in ("refuted", "believed")]
    return [outcomes[0].guard, scale, *counts, *losses, told]


def main() -> int:
    """Measures and prints; the exit code says whether all held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guards", nargs="+", choices=get_args(GuardName), default=get_args(GuardName))
    parser.add_argument("--scales", type=float, nargs="+", default=[0.0, 0.3, 3.0], help="0: a donor that does not lie")
    parser.add_argument("--repetitions", type=whole_number(1, 100), default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    torch.set_num_threads(1)
    data, outcomes, rows, held = Digits.load(), list[Outcome](), list[list[str]](), True
    for guard in given.guards:
        for scale in given.scales:
            found = list[Outcome]()
            for seed in range(given.repetitions):
                found.append(Trial(data, guard, scale, seed).run())
                print(found[-1], file=sys.stderr, flush=True)
            rows.append(row(found))
            held = held and median(found, "joiner") <= median(found, "alone")
            outcomes += found
    columns = ["guard", "garbage", "refuted", "believed", "first", "worst", "joiner", "others", "alone", "rounds"]
    show_table(f"{PEERS} peers and a joiner, {given.repetitions} repetitions, medians", columns, rows)
    if given.json is not None:
        write_json(given.json, benchmark="lying_donor", measured_on=machine(), results=outcomes)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
