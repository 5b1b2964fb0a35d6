"""SIGTERM at random moments of a real `gossip train`, in the middle of its swarm: how it ends, and what it has saved.

A companion trains all the time; each victim joins it. Most are asked to end at a moment after they are up, the others
at any moment from the start of the process. Who has not begun to train yet has nothing to save, and may say so.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.processes import Family, Peer

from benchmarks.measure import Summary, summary
from gossiptrain import events
from gossiptrain.errors import CheckpointError
from gossiptrain.training.runs.checkpoints import load_checkpoint

FLAGS = ("--every-steps", "50", "--batch", "8", "--checkpoint-every", "1", "--eval-every", "200")
FAREWELL_S = 10.0
EARLY_SHARE = 0.2
EARLY_SPAN_S, SPAN_S = 4.0, 6.0
"""Of the moments from the start of the process, and of those after it is up."""
BEFORE_IT_BEGAN = {0: "as if it had begun", 130: "interrupted", -signal.SIGTERM: "before it heard"}
"""Exit codes of those that had not yet told of a step."""


@dataclass(frozen=True)
class TerminatingFindings:
    """begun: had made a step. farewell_s: of these, from SIGTERM to the end. early: exit codes of the others."""

    terminated: int
    begun: int
    farewell_s: Summary | None
    early: dict[int, int]
    wrong: list[str]


@dataclass
class _Ended:
    has_begun: bool
    farewell_s: float
    code: int
    wrong: str


def terminate(folder: Path, *, times: int, parallel: int, seed: int = 0) -> TerminatingFindings:
    """So many victims, some of them at a time."""
    rng = random.Random(seed)
    ended: list[_Ended] = []
    with Family(folder) as family:
        companion = family.train(*FLAGS, "--out", "companion")
        address = companion.address()
        waiting = [_victim(family, f"victim-{number}", address, random.Random(rng.random())) for number in range(times)]
        running: list[Iterator[_Ended | None]] = []
        while waiting or running:
            while waiting and len(running) < parallel:
                running.append(waiting.pop(0))
            for victim in list(running):
                if (found := next(victim)) is not None:
                    running.remove(victim)
                    ended.append(found)
            time.sleep(0.02)
        if companion.process.poll() is not None:
            ended.append(_Ended(False, 0.0, 0, f"the companion ended: {companion.err[-500:]}"))
    begun = [one for one in ended if one.has_begun]
    early = [one.code for one in ended if not one.has_begun]
    return TerminatingFindings(
        times,
        len(begun),
        summary([one.farewell_s for one in begun]) if begun else None,
        {code: early.count(code) for code in sorted(set(early))},
        [one.wrong for one in ended if one.wrong],
    )


def _victim(family: Family, name: str, address: str, rng: random.Random) -> Iterator[_Ended | None]:
    """Its course: yields None for as long as it lasts, and then how it ended."""
    peer = family.train(*FLAGS, "--out", name, "--initial-peer", address)
    is_early = rng.random() < EARLY_SHARE
    if not is_early:
        while not peer.find(events.Started) and peer.process.poll() is None:
            yield None
    at_s = time.monotonic() + rng.uniform(0.0, EARLY_SPAN_S if is_early else SPAN_S)
    while time.monotonic() < at_s and peer.process.poll() is None:
        yield None
    has_begun = bool(peer.find(events.StepDone))
    peer.signal(signal.SIGTERM)
    asked_s = time.monotonic()
    while peer.process.poll() is None and time.monotonic() < asked_s + 3 * FAREWELL_S:
        yield None
    farewell_s = time.monotonic() - asked_s
    code = peer.process.poll()
    if code is None:
        peer.kill()
    wrong = _wrong_with(peer, family.folder / name, has_begun=has_begun, code=code, farewell_s=farewell_s)
    yield _Ended(has_begun, farewell_s, -signal.SIGKILL if code is None else code, f"{name}: {wrong}" if wrong else "")


def _wrong_with(peer: Peer, folder: Path, *, has_begun: bool, code: int | None, farewell_s: float) -> str:
    if farewell_s > FAREWELL_S:
        return f"it did not end within {FAREWELL_S:g} s"
    if "Traceback" in peer.err:
        return f"it has shown a traceback: {peer.err[-1000:]}"
    if code != 0 and (has_begun or code not in BEFORE_IT_BEGAN):
        return f"it ended with {code}: {peer.err[-500:]}"
    finished = peer.find(events.Finished)
    try:
        damaged: list[str] = []
        step = load_checkpoint(folder, report=damaged.append).state.step
    except CheckpointError as error:
        return f"it had begun, and {error.what}" if has_begun or "There is no checkpoint" not in error.what else ""
    if damaged:
        return damaged[0]
    return "" if not finished or finished[-1].step == step else f"it ended at {finished[-1].step}, and saved {step}"
