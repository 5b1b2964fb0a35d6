"""Whether loops of one's own that end at about the same time end with one model, whatever trains it.

    python -m benchmarks.own_loops
    python -m benchmarks.own_loops --ways compiled --repetitions 2

Two to four threads of this process each train a small network with `gossip()`; each has a node and a libp2p daemon of
its own. They make as many steps as each other, in these ways:

    unequal     at speeds that differ by up to 5 ms a step
    optimizers  with one optimizer for each half of the network
    lbfgs       with LBFGS
    compiled    one of them compiled, the others not

Nothing but the end of the `with` block brings them together. Then all parameters are compared bit by bit. Exits with 1
where any differ.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.measure import machine, show_table, whole_number
from gossiptrain import gossip
from gossiptrain.config import NetworkSettings

WAYS = ("unequal", "optimizers", "lbfgs", "compiled")
STEPS = 300
NETWORK = NetworkSettings(host_maddrs=("/ip4/127.0.0.1/tcp/0",), preset="local")
WAIT_S = 120.0


@dataclass(frozen=True)
class Repetition:
    """models: how many different ones there were at the end. seconds: from the first step to the last block's end."""

    way: str
    loops: int
    models: int
    seconds: float


class Loop:
    """One thread that trains."""

    def __init__(self, way: str, number: int, *, first: Loop | None, loops: int) -> None:
        torch.manual_seed(number)
        self.model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
        self.addresses: tuple[str, ...] = ()
        self.error: BaseException | None = None
        self._way = way
        self._number = number
        self._first = first
        self._loops = loops
        self._thread = threading.Thread(target=self._run, name=f"loop {number}")

    def start(self) -> None:
        """Begins to train; returns once others can reach it."""
        self._thread.start()
        deadline_s = time.monotonic() + WAIT_S
        while not self.addresses and self.error is None and time.monotonic() < deadline_s:
            time.sleep(0.02)

    def join(self) -> None:
        """Waits for the end of its block. Raises what ended it before."""
        self._thread.join(WAIT_S)
        if self.error is not None:
            raise self.error
        if self._thread.is_alive():
            raise RuntimeError(f"loop {self._number} does not end")

    def values(self) -> list[Tensor]:
        """All parameters."""
        return [parameter.detach().clone() for parameter in self.model.parameters()]

    def _run(self) -> None:
        try:
            self._train()
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            self.error = error

    def _train(self) -> None:
        model: nn.Module = self.model
        if self._way == "compiled" and self._number == 0:
            model = torch.compile(self.model, backend="eager")  # type: ignore[assignment]
        optimizers, step = self._training(model)
        initial = self._first.addresses[:1] if self._first is not None else ()
        with gossip(
            model, optimizers, run="own loops", task=self._way, network=NETWORK, every_steps=20, initial_peers=initial
        ) as swarm:
            self.addresses = swarm.addresses
            swarm.wait_for_peers(self._loops)
            for _ in range(STEPS):
                step()
                time.sleep(0.001 * self._number if self._way == "unequal" else 0.001)

    def _training(self, model: nn.Module) -> tuple[Sequence[torch.optim.Optimizer], Callable[[], None]]:
        inputs = torch.randn(32, 8)
        targets = torch.randn(32, 4)

        def loss() -> Tensor:
            found: Tensor = nn.functional.mse_loss(model(inputs), targets)
            return found

        if self._way == "lbfgs":
            lbfgs = torch.optim.LBFGS(self.model.parameters(), lr=0.1, max_iter=2)

            def closure() -> Tensor:
                lbfgs.zero_grad()
                found = loss()
                found.backward()  # type: ignore[no-untyped-call]
                return found

            return [lbfgs], lambda: (lbfgs.step(closure), None)[1]  # type: ignore[no-untyped-call]
        optimizers: list[torch.optim.Optimizer] = [
            torch.optim.SGD(self.model.parameters(), lr=0.01 * (1 + self._number))
        ]
        if self._way == "optimizers":
            optimizers = [
                torch.optim.AdamW(self.model[0].parameters()),
                torch.optim.SGD(self.model[2].parameters(), 0.01),
            ]

        def step() -> None:
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss().backward()  # type: ignore[no-untyped-call]
            for optimizer in optimizers:
                optimizer.step()

        return optimizers, step


def repeat(way: str, *, loops: int) -> Repetition:
    """One swarm of loops from start to end."""
    first = Loop(way, 0, first=None, loops=loops)
    first.start()
    others = [Loop(way, number, first=first, loops=loops) for number in range(1, loops)]
    began_s = time.monotonic()
    for loop in others:
        loop.start()
    for loop in (first, *others):
        loop.join()
    different: list[list[Tensor]] = []
    for loop in (first, *others):
        values = loop.values()
        if not any(all(map(torch.equal, values, other)) for other in different):
            different.append(values)
    return Repetition(way, loops, len(different), time.monotonic() - began_s)


def main() -> int:
    """Runs all repetitions, tells each at once, and the table at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--repetitions", type=whole_number(1), default=10)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: list[Repetition] = []
    for way in given.ways:
        for number in range(given.repetitions):
            found.append(repeat(way, loops=2 + number % 3))
            one = found[-1]
            print(f"{way} {number + 1}: {one.loops} loops, {one.models} models, {one.seconds:.1f} s", flush=True)
    rows = []
    for way in given.ways:
        of_way = [one for one in found if one.way == way]
        equal = sum(one.models == 1 for one in of_way)
        rows.append([way, str(len(of_way)), str(equal), f"{max(one.seconds for one in of_way):.1f}"])
    print(machine())
    show_table("Own loops that end", ["way", "times", "all equal", "longest, s"], rows)
    return int(any(one.models != 1 for one in found))


if __name__ == "__main__":
    sys.exit(main())
