"""Runs of many seeds, on several processes, and what they amount to together.

Owns the order, which is that of the seeds however many processes there are, the summary, and the command that repeats a
run. Does not know how anything is shown.
"""

from __future__ import annotations

import logging
import multiprocessing
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gossiptrain.simulate.swarms import sometimes
from gossiptrain.simulate.swarms.results import SwarmResult
from gossiptrain.simulate.swarms.running import run
from gossiptrain.simulate.swarms.settings import FAULT_NAMES, FaultName, SwarmSettings
from gossiptrain.simulate.swarms.shrink import Numbers, smallest


@dataclass(frozen=True)
class FaultSummary:
    """Of one kind: how often it happened, and what it cost.

    one_swarm_after_s: the longest time from the end of one until each peer knew all others; None where it never came.
    """

    happened: int
    rounds_cost: int
    one_swarm_after_s: float | None


@dataclass(frozen=True)
class Summary:
    """Of several runs. Formation is the time from ready to group, over all members of all rounds that committed.

    disagreement: median over all samples with two peers that train, or more. faster: virtual by real time, summed over
    the runs, each on one core.
    """

    runs: int
    failed: int
    committed: int
    abandoned: int
    formation_median_s: float
    formation_95_s: float
    disagreement: float
    sent_bytes: int
    virtual_s: float
    faster: float
    faults: dict[FaultName, FaultSummary]
    reached: dict[str, int]
    """In how many runs each event was seen."""

    @property
    def never_reached(self) -> tuple[str, ...]:
        """Events that none of the runs has exercised."""
        return tuple(event for event in sometimes.EVENTS if not self.reached[event])


def run_all(runs: Sequence[SwarmSettings], *, processes: int) -> Iterator[SwarmResult]:
    """The results, in the order of the settings, each as soon as it is there."""
    if processes == 1 or len(runs) == 1:
        _be_quiet()
        yield from map(run, runs)
        return
    # Not forked: this process may have threads by now.
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(processes, len(runs)), initializer=_be_quiet) as pool:
        yield from pool.imap(run, runs)


def shrunk(failed: SwarmResult) -> Numbers:
    """The fewest faults found with which the same invariant does not hold."""
    broken = {each.invariant for each in failed.violations}

    def fails(numbers: Numbers) -> bool:
        settings = failed.settings.model_copy(update={"only_faults": numbers})
        return bool(broken & {each.invariant for each in run(settings).violations})

    return smallest([each.number for each in failed.faults if each.happened], fails)


def command_for(settings: SwarmSettings) -> str:
    """What repeats that run."""
    usual = SwarmSettings()
    words = ["gossip simulate swarm", f"--peers {settings.peers}", f"--seed {settings.seed}"]
    flags = {
        "--seconds": f"{settings.seconds:g}" if settings.seconds != usual.seconds else "",
        "--faults": _in_words(settings.faults) if settings.faults != usual.faults else "",
        "--faults-per-minute": f"{settings.faults_per_minute:g}"
        if settings.faults_per_minute != usual.faults_per_minute
        else "",
        "--preset": settings.preset if settings.preset != usual.preset else "",
        "--group-size": str(settings.group_size) if settings.group_size != usual.group_size else "",
        "--every-seconds": f"{settings.every_seconds:g}" if settings.every_seconds != usual.every_seconds else "",
        "--only-faults": only_in_words(settings.only_faults) if settings.only_faults is not None else "",
    }
    words += ["--private"] if settings.private else []
    return " ".join([*words, *(f"{flag} {value}" for flag, value in flags.items() if value)])


def only_in_words(numbers: Numbers) -> str:
    """As `--only-faults` takes them."""
    return ",".join(map(str, numbers)) or "none"


def summary_of(results: Sequence[SwarmResult]) -> Summary:
    """What they amount to."""
    formation_s = sorted(each.formation_s for result in results for each in result.rounds if each.committed)
    disagreement = [each.disagreement for result in results for each in result.samples if each.training > 1]
    cpu_s = sum(result.cpu_s for result in results)
    virtual_s = sum(result.virtual_s for result in results)
    return Summary(
        runs=len(results),
        failed=sum(bool(result.violations) for result in results),
        committed=sum(result.committed for result in results),
        abandoned=sum(result.abandoned for result in results),
        formation_median_s=statistics.median(formation_s) if formation_s else 0.0,
        formation_95_s=formation_s[int(0.95 * (len(formation_s) - 1))] if formation_s else 0.0,
        disagreement=statistics.median(disagreement) if disagreement else 0.0,
        sent_bytes=sum(result.sent_bytes for result in results),
        virtual_s=virtual_s,
        faster=virtual_s / cpu_s if cpu_s else 0.0,
        faults={name: _fault_summary(results, name) for name in FAULT_NAMES},
        reached={event: sum(result.reached[event] > 0 for result in results) for event in sometimes.EVENTS},
    )


def _fault_summary(results: Sequence[SwarmResult], name: FaultName) -> FaultSummary:
    faults = [each for result in results for each in result.faults if each.name == name and each.happened]
    after_s = [each.one_swarm_after_s for each in faults if each.one_swarm_after_s is not None]
    longest_s = max(after_s) if after_s and len(after_s) == len(faults) else None
    return FaultSummary(len(faults), sum(each.rounds_cost for each in faults), longest_s)


def _in_words(faults: dict[FaultName, float]) -> str:
    words = [name if weight == 1 else f"{name}:{weight:g}" for name, weight in faults.items()]
    return ",".join(words) or "none"


def _be_quiet() -> None:
    """What peers log of simulated trouble is for nobody, unless somebody asks for it."""
    logging.getLogger("gossiptrain").addHandler(logging.NullHandler())
