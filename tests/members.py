"""Members of a real swarm inside the test's own process: `gossip()` around loops that learn nothing, in threads.

Each member has its own node and daemon, real processes with a real DHT. Its parameters all have one value and stand
still unless they are averaged, so that what averaging does to them can be checked to the last digit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn

from gossiptrain import events
from gossiptrain.config import GossipSettings, NetworkSettings
from gossiptrain.training.gossip import gossip
from gossiptrain.training.membership import Gossip
from tests.processes import wait_until

LOCAL = NetworkSettings(host_maddrs=("/ip4/127.0.0.1/tcp/0",), preset="local")
STEP_S = 0.002


class Constant(nn.Module):
    """So many parameters of one value."""

    def __init__(self, value: float, *, elements: int = 1000) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((elements,), value))


def standing_still(model: nn.Module) -> torch.optim.Optimizer:
    """An optimizer whose steps change nothing."""
    return torch.optim.SGD(model.parameters(), lr=0.0)


class Member:
    """One member: use it as a context manager; its loop runs until the end of the block, and then merges."""

    def __init__(
        self,
        value: float,
        *,
        model: nn.Module | None = None,
        optimizer: Callable[[Any], torch.optim.Optimizer] = standing_still,
        initial_peers: Sequence[str] = (),
        **options: Any,
    ) -> None:
        """model: another one than a `Constant` of this value. optimizer: of the model. options: of `gossip()`."""
        self.model: Any = Constant(value) if model is None else model
        self.told: list[events.Event] = []
        self.after_round: dict[int, Tensor] = {}
        """The parameters right after each round of that number."""
        self.optimizer = optimizer(self.model)
        given: dict[str, Any] = {"run": "members", "network": LOCAL, "every_steps": 25, **options}
        self.swarm: Gossip = gossip(
            self.model, self.optimizer, initial_peers=initial_peers, on_event=self._note, **given
        )
        self._up = threading.Event()
        self._pause = threading.Event()
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._live, name=f"member {value}")

    @property
    def values(self) -> Tensor:
        """The parameters as they are, one after the other."""
        return torch.cat([parameter.detach().flatten() for parameter in self.model.parameters()])

    @property
    def address(self) -> str:
        """Where others can reach it."""
        return self.swarm.addresses[0]

    def rounds(self) -> list[events.RoundCommitted]:
        """The rounds that it took part in."""
        return [event for event in self.told if isinstance(event, events.RoundCommitted)]

    def start(self) -> None:
        """Begins to join; `wait_until_up` waits for it."""
        self._thread.start()

    def wait_until_up(self) -> None:
        """Waits until it has joined. Raises what kept it from doing so."""
        wait_until(lambda: self._up.is_set() or self._error is not None, "the member has joined")
        if self._error is not None:
            raise self._error

    def pause(self) -> None:
        """Has it make no more steps, and therefore take part in nothing, until it is told to stop."""
        self._pause.set()

    def stop(self) -> None:
        """Has it merge and leave; `join` waits for that."""
        self._stop.set()

    @property
    def has_left(self) -> bool:
        """Whether its block has ended."""
        return not self._thread.is_alive()

    def join(self) -> None:
        """Waits until it has left."""
        self._thread.join(90.0)
        assert not self._thread.is_alive(), "the member does not end"

    def __enter__(self) -> Self:
        self.start()
        self.wait_until_up()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
        self.join()

    def _live(self) -> None:
        try:
            with self.swarm:
                self._up.set()
                while not self._stop.wait(STEP_S):
                    if not self._pause.is_set():
                        self.optimizer.step()
        except BaseException as error:  # noqa: BLE001 - handed to the thread of the test
            self._error = error

    def _note(self, event: events.Event) -> None:
        self.told.append(event)
        if isinstance(event, events.RoundCommitted):
            self.after_round[event.round] = self.values


@contextmanager
def members(values: Sequence[float], settings: GossipSettings, **options: Any) -> Iterator[list[Member]]:
    """So many members of one swarm, each joined through the first; at the end all merge and leave at the same time."""
    with ExitStack() as stack:
        first = stack.enter_context(Member(values[0], settings=settings, **options))
        others = [Member(value, settings=settings, initial_peers=[first.address], **options) for value in values[1:]]
        for member in others:
            member.start()
            stack.callback(member.join)
            stack.callback(member.stop)
        for member in others:
            member.wait_until_up()
        yield [first, *others]
        for member in (first, *others):
            member.stop()


def wait_for_rounds(swarm: Sequence[Member], count: int, *, where: Callable[[events.RoundCommitted], bool]) -> None:
    """Waits until each member took part in so many such rounds."""

    def enough() -> bool:
        return all(len([event for event in member.rounds() if where(event)]) >= count for member in swarm)

    wait_until(enough, f"{count} rounds of each of {len(swarm)} members")
