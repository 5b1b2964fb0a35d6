"""The three ways to train that `benchmarks.overhead` compares, each as a context around one peer's training loop.

Owns how each system is set up, and how it is heard that a round ended. Does not know what is measured, nor the other
peers' processes.

    plain        nobody is there
    gossiptrain  `gossip()` with `every_seconds`, on loopback
    hivemind     `hivemind.Optimizer` with local updates, as its documentation advises: the averaging is delayed to the
                 background, the time for matchmaking that of a small local run, a request's timeout below it, the
                 timeout a small multiple of what a round takes, the optimizer handed over as a factory together with
                 the parameters. Like gossiptrain it averages parameters, neither gradients nor momentum.

The learning rate is tiny: the data are random, and a model that diverged would be measured on numbers that are none.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

import torch
from torch import nn

from gossiptrain import NetworkSettings, events, gossip

SystemName: TypeAlias = Literal["plain", "gossiptrain", "hivemind"]
LOOPBACK = "/ip4/127.0.0.1/tcp/0"
BATCH = 4
LEARNING_RATE = 1e-4
LONGEST_MATCHMAKING_S = 3.0
HIVEMIND_AVERAGING_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Place:
    """What one peer is started with. interval_s: between rounds; target_batch: hivemind's epoch, in samples."""

    system: SystemName
    run: str
    model_mb: int
    interval_s: float
    target_batch: int
    initial_peers: tuple[str, ...] = ()


class Stepper(Protocol):
    """What the loop needs of an optimizer."""

    def zero_grad(self) -> Any:
        """Forgets the gradients."""

    def step(self) -> Any:
        """Makes one inner step."""


@dataclass
class Member:
    """A peer that can train. rounds_s: when its rounds were averaged, on `time.perf_counter`'s clock.

    reachable_s: how long after the first call others could reach it, where the system tells. idle: to be called now
    and then while no steps are made.
    """

    optimizer: Stepper
    addresses: tuple[str, ...] = ()
    reachable_s: float | None = None
    rounds_s: list[float] = field(default_factory=list)
    failed_rounds: int = 0
    idle: Callable[[], None] = lambda: None


@contextlib.contextmanager
def member(model: nn.Module, place: Place) -> Iterator[Member]:
    """Starts the system of `place` around the model; it has left the swarm afterwards."""
    kinds = {"plain": plain, "gossiptrain": gossiping, "hivemind": hivemind_averaging}
    with kinds[place.system](model, place) as started:
        yield started


@contextlib.contextmanager
def plain(model: nn.Module, place: Place) -> Iterator[Member]:
    """No gossip."""
    yield Member(_sgd(model.parameters()))


@contextlib.contextmanager
def gossiping(model: nn.Module, place: Place) -> Iterator[Member]:
    """With `gossip()`; a later peer takes over the parameters of the first one before it is ready."""
    started_s = time.perf_counter()
    optimizer = _sgd(model.parameters())
    this = Member(optimizer)

    def hear(event: events.Event) -> None:
        match event:
            case events.Started():
                this.reachable_s = time.perf_counter() - started_s
            case events.RoundCommitted():
                this.rounds_s.append(time.perf_counter())
            case events.RoundFailed(alone=False):
                this.failed_rounds += 1

    network = NetworkSettings(host_maddrs=(LOOPBACK,), preset="local")
    with gossip(
        model,
        optimizer,
        run=place.run,
        initial_peers=place.initial_peers,
        every_seconds=place.interval_s,
        network=network,
        on_event=hear,
    ) as swarm:
        this.addresses, this.idle = swarm.addresses, swarm.listen
        yield this


@contextlib.contextmanager
def hivemind_averaging(model: nn.Module, place: Place) -> Iterator[Member]:
    """With `hivemind.Optimizer`; its processes are told to end, however the block ends."""
    import hivemind

    started_s = time.perf_counter()
    matchmaking_s = min(place.interval_s / 2, LONGEST_MATCHMAKING_S)
    with contextlib.ExitStack() as stack:
        dht = hivemind.DHT(initial_peers=list(place.initial_peers), host_maddrs=[LOOPBACK], start=True)
        stack.callback(dht.shutdown)
        reachable_s = time.perf_counter() - started_s
        optimizer = hivemind.Optimizer(
            dht=dht,
            run_id=place.run,
            params=list(model.parameters()),
            optimizer=_sgd,
            batch_size_per_step=BATCH,
            target_batch_size=place.target_batch,
            use_local_updates=True,
            delay_state_averaging=True,
            matchmaking_time=matchmaking_s,
            averaging_timeout=HIVEMIND_AVERAGING_TIMEOUT_S,
            averager_opts={"request_timeout": matchmaking_s / 2},
        )
        stack.callback(optimizer.shutdown)
        addresses = tuple(str(address) for address in dht.get_visible_maddrs())
        this = Member(optimizer, addresses, reachable_s)
        stack.enter_context(_hearing_hivemind(this))
        yield this


@contextlib.contextmanager
def _hearing_hivemind(this: Member) -> Iterator[None]:
    """hivemind tells of the end of a round nowhere but in its log, at the level `DEBUG`."""

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            words = record.getMessage()
            if words.startswith("Averaged parameters with"):
                this.rounds_s.append(time.perf_counter())
            elif words.startswith("Averaging failed"):
                this.failed_rounds += 1

    logger, ear = logging.getLogger("hivemind.optim.state_averager"), Ear(logging.DEBUG)
    # What is heard here must not be printed by the handlers above, which would cost time.
    before = (logger.level, logger.propagate)
    logger.addHandler(ear)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(ear)
        logger.level, logger.propagate = before


def _sgd(parameters: Any) -> torch.optim.SGD:
    return torch.optim.SGD(parameters, lr=LEARNING_RATE, momentum=0.9)
