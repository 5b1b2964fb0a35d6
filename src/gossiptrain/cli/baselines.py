"""Every peer's training once more, alone: what the swarm has to beat.

Owns the spreading of these trainings over a few processes, one per core, and their results. The trainer is the same
`gossip train digits`, with `--alone`. Does not know what the results are compared with.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from gossiptrain.cli.child import Child
from gossiptrain.events import Event, Finished, Started, StepDone


@dataclass(eq=False)
class AloneRun:
    """One training alone. command: the arguments of `gossip`; steps: how many it makes."""

    command: list[str]
    steps: int
    done: int = 0
    """Steps made so far."""
    accuracy: float | None = None
    """Of the final model on the test set, once it is there."""


@dataclass(eq=False)
class _Worker:
    """A process that makes its runs one after another."""

    runs: list[AloneRun] = field(default_factory=list)
    at: int = -1
    child: Child | None = None

    @property
    def steps(self) -> int:
        return sum(run.steps for run in self.runs)

    def hear(self, event: Event) -> None:
        if isinstance(event, Started):
            self.at += 1
        run = self.runs[self.at]
        if isinstance(event, StepDone):
            run.done = event.step
        elif isinstance(event, Finished):
            run.done, run.accuracy = event.step, event.accuracy


class Baselines:
    """Use it as an async context manager: on leaving it, no process of it runs any more."""

    def __init__(self, runs: Sequence[AloneRun], *, processes: int | None = None) -> None:
        """processes: at most so many; None: one for each core that this process may use."""
        self._workers = spread(runs, processes or _cores())

    async def start(self) -> None:
        """Starts the processes."""
        for worker in self._workers:
            worker.child = await Child.start(*(run.command for run in worker.runs), on_event=worker.hear)

    @property
    def share_done(self) -> float:
        """Part of all steps that was made, 0 to 1."""
        total = sum(worker.steps for worker in self._workers)
        return sum(run.done for worker in self._workers for run in worker.runs) / total if total else 1.0

    @property
    def are_over(self) -> bool:
        """Whether all processes have ended."""
        return all(worker.child is not None and worker.child.exit_code is not None for worker in self._workers)

    @property
    def last_words(self) -> str:
        """What a process that failed said last; empty where all went well."""
        failed = [worker.child for worker in self._workers if worker.child is not None and worker.child.exit_code]
        return failed[0].last_words if failed else ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        children = [worker.child for worker in self._workers if worker.child is not None]
        await asyncio.gather(*(child.close() for child in children))


def spread(runs: Sequence[AloneRun], processes: int) -> list[_Worker]:
    """Gives the longest run that is left to the process that has least to do, until none is left."""
    workers = [_Worker() for _ in range(min(processes, len(runs)))]
    for run in sorted(runs, key=lambda run: -run.steps):
        min(workers, key=lambda worker: worker.steps).runs.append(run)
    return workers


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
