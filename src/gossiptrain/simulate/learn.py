"""One run of the laboratory, from settings to result: `run(LearnSettings(task="digits", ...))`.

Owns the course: when rounds take place, what is recorded, the two baselines, and the end. Does not know how results are
shown.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from gossiptrain.core.averaging import relative_disagreement
from gossiptrain.simulate.learn_settings import BASELINES, LearnSettings
from gossiptrain.simulate.lies import Liars
from gossiptrain.simulate.resolving import resolved, speeds_of
from gossiptrain.simulate.results import LearnResult, Record, Score, mean_score
from gossiptrain.simulate.rounds import Contraction, VirtualRoundRules, VirtualRounds
from gossiptrain.simulate.scores import Scorer
from gossiptrain.simulate.sources import Draws, source_of
from gossiptrain.simulate.virtual_peers import VirtualPeers, VirtualPeersPlan
from gossiptrain.training.compute import chosen_device
from gossiptrain.training.pacing import head_start
from gossiptrain.training.tasks.sampling import seed_from

EVALUATION_SAMPLES = 2000
"""Of the held-out data, in evaluations before the end and in those of single peers at it."""
STATISTICS_SAMPLES = 4096
"""Training samples from which the running statistics of the merged model are estimated."""
SMALL_MODEL = 200_000
"""Parameters below which handing the work of a call to several threads takes longer than the work."""
BYTES_PER_VALUE = 4


def run(settings: LearnSettings, *, on_record: Callable[[Record], None] = lambda record: None) -> LearnResult:
    """Trains all virtual peers and says what became of them. Equal settings give equal results on one computer.

    on_record: called with every record as it is made. Raises UsageError, DataError.
    """
    threads = torch.get_num_threads()
    course = _Course(settings, on_record)
    try:
        return course.run()
    finally:
        course.close()
        torch.set_num_threads(threads)


class _Course:
    def __init__(self, settings: LearnSettings, on_record: Callable[[Record], None]) -> None:
        self._settings = settings
        self._on_record = on_record
        # What can be wrong comes first: the virtual peers have threads.
        self._task, self._resolved = resolved(settings)
        device = chosen_device(settings.device)
        self._source = source_of(self._task, data_dir=settings.data_dir, device=device)
        held_out = self._task.open_evaluation(data_dir=settings.data_dir, device=device)
        self._shares = self._source.shares(settings)
        self._started_s = time.perf_counter()
        self._training_s = 0.0
        self._virtual_peers = VirtualPeers(self._order(), self._source, device=device)
        model = self._task.build_model(settings.seed).to(device)
        self._scorer = Scorer(model, held_out, inputs=self._inputs)
        self._parameters = sum(parameter.numel() for parameter in model.parameters())
        if self._parameters < SMALL_MODEL and device.type == "cpu":
            torch.set_num_threads(1)
        self._rounds = None if settings.strategy in BASELINES else VirtualRounds(self._rules(), self._virtual_peers)
        self._records: list[Record] = []
        self._losses: list[Tensor] = []
        self._recorded_steps = 0
        self._evaluated_step = 0

    def close(self) -> None:
        self._virtual_peers.close()

    # How it is made up.

    def _order(self) -> VirtualPeersPlan:
        settings, found = self._settings, self._resolved
        central = settings.strategy == "central"
        return VirtualPeersPlan(
            task=self._task,
            shares=[np.concatenate(self._shares)] if central else self._shares,
            speeds=[1.0] if central else speeds_of(settings.peers, settings.speeds, seed=settings.seed),
            batch=found.batch * (settings.peers if central else 1),
            learning_rate=found.learning_rate,
            total_steps=settings.steps,
            seed=settings.seed,
            fix_statistics=settings.fix_statistics,
        )

    def _rules(self) -> VirtualRoundRules:
        settings, found = self._settings, self._resolved
        return VirtualRoundRules(
            settings.gossip(),
            found.steps_between_rounds,
            found.batch,
            settings.absent,
            settings.seed,
            settings.tries,
            Liars(settings.attackers, settings.attack, owners_lie=settings.lying_owners),
            aggregator=settings.aggregator,
        )

    def _inputs(self) -> Iterator[Tensor]:
        """Training samples of all peers alike, for running statistics."""
        everything = np.concatenate(self._shares)
        batch = min(self._resolved.batch, len(everything))
        seed = seed_from("statistics", self._settings.seed)
        draws = Draws(self._source, [everything], batch=batch, seeds=[seed])
        for drawn in draws.gather(draws.plan([max(1, STATISTICS_SAMPLES // batch)])):
            yield drawn.inputs[0]

    # The course.

    def run(self) -> LearnResult:
        every, counted = self._resolved.steps_between_rounds, 0
        counted_later = math.floor(head_start(self._settings.delay, every))
        while self._virtual_peers.step < self._settings.steps:
            whole = self._train(every - counted)
            counted = counted_later
            if self._rounds is not None and whole:
                self._round(self._rounds)
            elif self._is_due() or self._virtual_peers.step == self._settings.steps:
                self._record(None, self._look_at_peers())
        return self._result()

    def _round(self, rounds: VirtualRounds) -> None:
        due = self._is_due(in_steps=self._settings.delay)
        before = self._look_at_peers() if due else None
        contraction = rounds.meet(measured=due)
        self._train(self._settings.delay)
        rounds.take()
        if due:
            self._record(contraction, before)

    def _train(self, wanted: int) -> bool:
        """Takes so many steps, or what is left of the run. Returns whether there was time for all of them."""
        steps = min(wanted, self._settings.steps - self._virtual_peers.step)
        if steps:
            started_s = time.perf_counter()
            self._losses.append(self._virtual_peers.train(steps))
            self._training_s += time.perf_counter() - started_s
        return steps == wanted

    def _is_due(self, *, in_steps: int = 0) -> bool:
        """Whether to record then: at every round, or as often as others where there are rounds after every step."""
        return (
            self._virtual_peers.step + in_steps - (self._records[-1].step if self._records else 0)
            >= self._resolved.every_steps
        )

    def _record(self, contraction: Contraction | None, mean_peer: Score | None) -> None:
        values = self._honest()
        steps = self._steps_of_all()
        loss = float(torch.stack(self._losses).sum()) / max(1, steps - self._recorded_steps)
        self._losses, self._recorded_steps = [], steps
        record = Record(
            step=self._virtual_peers.step,
            training_loss=loss,
            disagreement=_disagreement(values),
            bytes_per_peer=self._bytes_per_peer(),
            contraction=contraction.measured if contraction else None,
            expected_contraction=contraction.expected if contraction else None,
            merged=self._look(values),
            mean_peer=mean_peer,
        )
        self._records.append(record)
        self._on_record(record)

    def _looks(self) -> bool:
        every = self._resolved.evaluate_every
        return every > 0 and self._virtual_peers.step - self._evaluated_step >= every

    def _look(self, values: Tensor) -> Score | None:
        if not self._looks():
            return None
        self._evaluated_step = self._virtual_peers.step
        return self._scorer.of_mean(values, samples=EVALUATION_SAMPLES)

    def _look_at_peers(self) -> Score | None:
        if not self._settings.evaluate_peers or not self._looks():
            return None
        return mean_score(self._scores_of(self._honest(), samples=None))

    def _result(self) -> LearnResult:
        values = self._honest()
        # Those that were fixed are what the parameters have learnt to go by.
        merged = self._scorer.of_mean(values, anew=self._settings.fix_statistics is None)
        return LearnResult(
            resolved=self._resolved,
            parameters=self._parameters,
            samples=tuple(map(len, self._shares)),
            records=tuple(self._records),
            merged=merged,
            peers=self._scores_of(values, samples=EVALUATION_SAMPLES),
            disagreement=_disagreement(values),
            rounds=self._rounds.number if self._rounds else 0,
            refused=self._rounds.refused if self._rounds else 0,
            bytes_per_peer=self._bytes_per_peer(),
            inner_steps=self._steps_of_all() * (self._settings.peers if self._settings.strategy == "central" else 1),
            training_seconds=self._training_s,
            seconds=time.perf_counter() - self._started_s,
        )

    def _scores_of(self, values: Tensor, *, samples: int | None) -> tuple[Score, ...]:
        def of_some(members: range) -> list[Score]:
            scorer = self._scorer.copy()
            return [scorer.of_row(values[peer], samples=samples) for peer in members if peer < len(values)]

        return tuple(itertools.chain.from_iterable(self._virtual_peers.share_out(of_some)))

    def _honest(self) -> Tensor:
        """The values of all peers that are counted [peers, elements]."""
        values = self._virtual_peers.matrix()
        return values[: len(values) - self._settings.attackers]

    def _steps_of_all(self) -> int:
        return sum(self._virtual_peers.steps_of(peer) for peer in range(self._virtual_peers.peers))

    def _bytes_per_peer(self) -> float:
        if self._settings.strategy == "central":
            # An all-reduce of the gradients in every step; the least that it can cost (Patarasuk and Yuan 2009).
            share = 2 * (self._settings.peers - 1) / self._settings.peers
            return share * BYTES_PER_VALUE * self._parameters * self._virtual_peers.step
        return self._rounds.bytes_per_peer if self._rounds else 0.0


def _disagreement(values: Tensor) -> float:
    mean = values.mean(dim=0, dtype=torch.float64).to(values.dtype)
    found = relative_disagreement(
        squared_distance=float((values - mean).square().sum(dtype=torch.float64)),
        squared_mean=float(mean.square().sum(dtype=torch.float64)),
        members=len(values),
    )
    return found if math.isfinite(found) else math.nan
