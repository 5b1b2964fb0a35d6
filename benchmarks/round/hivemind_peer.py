"""A peer of `round` that averages by hivemind's `DecentralizedAverager`.

Owns the settings of hivemind: its own, but for the waits of its matchmaking. Those are made for the internet; here
they are as short as works reliably, which favours hivemind.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import hivemind
import torch
from hivemind.averaging.control import AveragingStage

from benchmarks.round.contender import FORMATION_TIMEOUT_S, Contender, IncompleteRoundError, Job, Timing, wait_until

MATCHMAKING_S = 0.5
REQUEST_TIMEOUT_S = 0.3
ROUND_TRIPS_A_REQUEST = 4
"""What a request over a link with a delay takes at most, beside `REQUEST_TIMEOUT_S`."""
NEXT_CHUNK_TIMEOUT_S = 10.0
POLL_S = 0.001


class Hivemind(Contender):
    """Averages in place, in memory that it shares with the averager's own process."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        torch.set_num_threads(1)
        self._dht: hivemind.DHT | None = None
        self._averager: hivemind.DecentralizedAverager | None = None

    def open(self) -> str:
        if self.job.rank != 0:
            return ""  # others are dialled when a DHT starts
        self._dht = hivemind.DHT(start=True, host_maddrs=[self._place])
        return str(self._dht.get_visible_maddrs()[0])

    def meet(self, addresses: Sequence[str]) -> None:
        if self._dht is None:
            self._dht = hivemind.DHT([addresses[0]], start=True, host_maddrs=[self._place])
        self._averager = hivemind.DecentralizedAverager(
            [torch.zeros(self.job.elements)],
            self._dht,
            start=True,
            prefix="round",
            target_group_size=self.job.peers,
            min_matchmaking_time=MATCHMAKING_S,
            request_timeout=REQUEST_TIMEOUT_S + ROUND_TRIPS_A_REQUEST * self.job.round_trip_s,
            # Without these, which its optimizer sets, too, a round that has lost a message would never end.
            next_chunk_timeout=NEXT_CHUNK_TIMEOUT_S,
            allreduce_timeout=self.job.longest_s,
        )

    def prepare(self) -> None:
        with self._running.get_tensors() as tensors:
            self.contributions.write(self.job.rank, tensors[0].numpy())

    def run(self, begin_s: float) -> Timing:
        wait_until(begin_s)
        started_s = time.monotonic()
        step = self._running.step(wait=False, require_trigger=True, timeout=FORMATION_TIMEOUT_S)
        while step.stage in (AveragingStage.IDLE, AveragingStage.LOOKING_FOR_GROUP):
            time.sleep(POLL_S)
        formed_s = time.monotonic()
        step.allow_allreduce()
        try:
            gathered = step.result(timeout=FORMATION_TIMEOUT_S + self.job.longest_s)
        except Exception as error:  # whatever hivemind raised in its own process arrives here
            raise IncompleteRoundError(repr(error)) from error
        ended_s = time.monotonic()
        if gathered is None or len(gathered) != self.job.peers:
            raise IncompleteRoundError(f"a group of {len(gathered or ())}")
        if self.error() > self.tolerance:
            raise IncompleteRoundError("hivemind went on without a part of the vector, and says nothing of it")
        return Timing(formed_s - started_s, ended_s - formed_s, ended_s - started_s)

    def error(self) -> float:
        with self._running.get_tensors() as tensors:
            return self.contributions.error(tensors[0].numpy())

    def close(self) -> None:
        if self._averager is not None:
            self._averager.shutdown()
        if self._dht is not None:
            self._dht.shutdown()

    @property
    def _place(self) -> str:
        return f"/ip4/{self.job.host}/tcp/0"

    @property
    def _running(self) -> hivemind.DecentralizedAverager:
        assert self._averager is not None, "meet comes first"
        return self._averager
