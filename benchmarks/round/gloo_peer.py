"""A peer of `round` that is one of torch.distributed with its backend gloo.

Owns nothing but the call of `all_reduce`. Who takes part is fixed from the start, so no time goes into finding a group.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as distributed

from benchmarks.round.contender import MEET_TIMEOUT_S, Contender, Job, Timing, wait_until


class Gloo(Contender):
    """Adds up in place, by one thread."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.tolerance *= job.peers  # the sum is not divided, neither here nor in the time
        self._vector = np.zeros(job.elements, np.float32)
        self._tensor = torch.from_numpy(self._vector)
        torch.set_num_threads(1)

    def open(self) -> str:
        if self.job.rank != 0:
            return ""
        self._store = self._open_store(self.job.host, port=0)
        return f"{self.job.host}:{self._store.port}"

    def meet(self, addresses: Sequence[str]) -> None:
        if self.job.rank != 0:
            host, _, port = addresses[0].rpartition(":")
            self._store = self._open_store(host, port=int(port))
        distributed.init_process_group(
            "gloo",
            store=self._store,
            rank=self.job.rank,
            world_size=self.job.peers,
            timeout=timedelta(seconds=MEET_TIMEOUT_S),
        )

    def prepare(self) -> None:
        self.contributions.write(self.job.rank, self._vector)

    def run(self, begin_s: float) -> Timing:
        wait_until(begin_s)
        started_s = time.monotonic()
        distributed.all_reduce(self._tensor)
        seconds = time.monotonic() - started_s
        return Timing(0.0, seconds, seconds)

    def error(self) -> float:
        return self.contributions.error(self._vector, factor=self.job.peers)

    def close(self) -> None:
        if distributed.is_initialized():
            distributed.destroy_process_group()

    def _open_store(self, host: str, *, port: int) -> Any:
        return distributed.TCPStore(  # type: ignore[attr-defined]
            host,
            port,
            self.job.peers,
            is_master=self.job.rank == 0,
            timeout=timedelta(seconds=MEET_TIMEOUT_S),
            wait_for_workers=False,
        )
