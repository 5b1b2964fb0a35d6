"""The last rounds of the command line's trainer, and the running statistics that fit the model merged in them.

Owns how long others are waited for after the last step and after Ctrl+C. How such a round takes place is `ending`. Does
not know what is evaluated or kept of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from gossiptrain.swarm.ending import Farewell, Grace
from gossiptrain.training.ending import Ended
from gossiptrain.training.interrupts import Interrupts
from gossiptrain.training.membership import Gossip
from gossiptrain.training.model.batch_norm import estimate_running_statistics, has_running_statistics
from gossiptrain.training.parts import Parts

STATISTICS_BATCHES = 50
"""From which the running statistics of the merged model are estimated."""
FAREWELL_SHARE = 0.1
"""Part of the time of the whole training for which others are waited for that say they end within it; no less than
`ending_time`, and within the following two."""
LEAST_FAREWELL_S = 30.0
"""A tenth of a short training is less than what lies between the commands that two people type, or than what computers
of different speed are apart at the end."""
LONGEST_FAREWELL_S = 60.0
INTERRUPTED_GRACE_S = 2.0
"""How long others are waited for that end as well after Ctrl+C or SIGTERM."""
INTERRUPTED_MERGE_S = 3.0
"""How long the last group may take to form then; the whole farewell must take less than 10 seconds."""


def grace_after(trained_s: float, *, ending_time_s: float) -> Grace:
    """How long others are waited for after a training that took so many seconds, and was not interrupted."""
    longest_s = min(LONGEST_FAREWELL_S, max(LEAST_FAREWELL_S, FAREWELL_SHARE * trained_s))
    return Grace.usual(ending_time_s, longest_s=longest_s)


class LastRounds:
    """Those of one peer."""

    def __init__(self, swarm: Gossip, parts: Parts, interrupts: Interrupts, *, listen: Callable[[], None]) -> None:
        """listen: hears the swarm while statistics are estimated."""
        self._swarm = swarm
        self._parts = parts
        self._interrupts = interrupts
        self._listen = listen

    def make(self, trained_s: float, *, interrupted: bool) -> Ended:
        """Makes them together with all others that end at about the same time. trained_s: how long training took."""
        swarm, interrupts = self._swarm, self._interrupts
        farewell = self._farewell(trained_s, interrupted=interrupted)
        ended = swarm.end(farewell, until=lambda: interrupts.requested and not interrupted)
        if ended.follow_up:
            if not interrupts.requested:
                self._fit_statistics()
            ended = swarm.end(
                Farewell(grace=Grace.usual(0.0), patience_s=farewell.patience_s), until=lambda: interrupts.requested
            )
        return ended

    def _farewell(self, trained_s: float, *, interrupted: bool) -> Farewell:
        if interrupted:
            grace = Grace.usual(INTERRUPTED_GRACE_S)
            return Farewell(grace=grace, patience_s=INTERRUPTED_MERGE_S, cuts_short=True)
        grace = grace_after(trained_s, ending_time_s=self._parts.gossip_settings.ending_time)
        patience_s = self._swarm.usual_farewell().patience_s
        parts = self._parts
        follows_up = has_running_statistics(parts.model) and not parts.statistics.are_fixed(self._swarm.step)
        return Farewell(grace=grace, patience_s=patience_s, follow_up=follows_up)

    def _fit_statistics(self) -> None:
        """Fits the running statistics to the merged parameters, each peer on its own data, to be merged too."""
        batches = self._parts.batches
        position = batches.state()
        with self._parts.precision.forward():
            estimate_running_statistics(self._parts.model, self._inputs_of_some_batches())
        batches.restore(position)

    def _inputs_of_some_batches(self) -> Iterator[torch.Tensor]:
        batches = self._parts.batches
        for _ in range(min(STATISTICS_BATCHES, batches.steps_per_epoch)):
            yield batches.next().inputs
            self._listen()
