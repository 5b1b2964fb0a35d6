"""SIGKILL to trainer, node or daemon of a real peer at random moments of its rounds: what all peers hold afterwards.

Three peers write down each state of their parameters, see `member`. Then, bit by bit: all that had one round hold the
same after it; who lived through a round that others had, had it, too; nothing else changed; and what the killed one
had saved last is a state that it had written down.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.processes import DAEMON, NODE, Family, Peer, wait_until

from benchmarks.crashes.member import digest
from gossiptrain.training.runs.checkpoints import load_checkpoint

PEERS = 3
PERIOD_S = 1.0
"""Within which a moment is drawn: some rounds long."""
ROUNDS_LOST = 100
"""So many a peer may miss, of which it is a member, while its node is replaced and does not know yet who it is."""
WHAT = ("trainer", "node", "daemon")


@dataclass(frozen=True)
class RoundFindings:
    """rounds: that were committed, of all peers. shared: digests after rounds that were compared with another's."""

    kills: dict[str, int]
    rounds: int
    shared: int
    wrong: list[str]


@dataclass
class _Peer:
    folder: Path
    process: Peer
    excused: list[range] = field(default_factory=list)
    """Numbers of rounds that it need not have had though it was a member: something of it was killed just then."""

    @property
    def has_ended(self) -> bool:
        return self.process.process.poll() is not None

    def told(self) -> list[dict[str, Any]]:
        """All lines that are complete."""
        return [json.loads(line) for line in self.process.out.splitlines(keepends=True) if line.endswith("\n")]

    def peer_id(self) -> str:
        return next((str(line["peer_id"]) for line in self.told() if "peer_id" in line), "")

    def last_round(self) -> int:
        return max((number for number, _ in self.rounds()), default=0)

    def rounds(self) -> dict[tuple[int, tuple[str, ...]], str]:
        """The digest after each round."""
        told = (line for line in self.told() if line.get("why") == "round")
        return {(line["round"], tuple(line["members"])): line["state"] for line in told}


def kill_in_rounds(folder: Path, *, kills: int, seed: int = 0) -> RoundFindings:
    """So many kills, one after the other; a trainer that was killed is followed by a new peer."""
    rng, counts, wrong = random.Random(seed), dict.fromkeys(WHAT, 0), list[str]()
    with Family(folder) as family:
        everyone: list[_Peer] = []
        for number in range(PEERS):
            everyone.append(_started(family, number, everyone))
        living = list(everyone)
        for _ in range(kills):
            _wait_for_a_round(living)
            time.sleep(rng.uniform(0.0, PERIOD_S))
            what, victim = rng.choice(WHAT), rng.choice(living)
            counts[what] += 1
            _kill(victim, what, at_round=max(peer.last_round() for peer in living))
            if what == "trainer":
                living.remove(victim)
                wrong += _wrong_with_checkpoint(victim)
                everyone.append(_started(family, len(everyone), living))
                living.append(everyone[-1])
        _wait_for_a_round(living)
        wrong += [f"{peer.folder.name} ended: {peer.process.err[-1000:]}" for peer in living if peer.has_ended]
        for peer in living:
            peer.process.kill()
    rounds = [peer.rounds() for peer in everyone]
    wrong += _wrong_with_rounds(everyone)
    keys = {key for each in rounds for key in each}
    return RoundFindings(counts, len(keys), sum(len(each) for each in rounds) - len(keys), wrong)


def _kill(victim: _Peer, what: str, *, at_round: int) -> None:
    victim.excused.append(range(at_round, sys.maxsize if what == "trainer" else at_round + ROUNDS_LOST))
    if what == "trainer":
        victim.process.kill()
    elif (member := victim.process.find_process(NODE if what == "node" else DAEMON)) is not None:
        member.signal(signal.SIGKILL)


def _started(family: Family, number: int, others: Sequence[_Peer]) -> _Peer:
    folder = family.folder / f"member-{number:03}"
    addresses = [line["addresses"][0] for other in others for line in other.told() if "addresses" in line]
    command = [sys.executable, "-m", "benchmarks.crashes.member"]
    process = family.start(str(folder), str(number), *addresses, program=command, cwd=Path(__file__).parents[2])
    peer = _Peer(folder, process)
    wait_until(lambda: bool(peer.peer_id()) or peer.has_ended, f"{folder.name} is up")
    if peer.has_ended:
        raise RuntimeError(f"{folder.name} ended: {process.err[-1000:]}")
    return peer


def _wait_for_a_round(peers: Sequence[_Peer]) -> None:
    for peer in peers:
        before = len(peer.rounds())
        wait_until(lambda: len(peer.rounds()) > before or peer.has_ended, "another round")  # noqa: B023 - at once


def _wrong_with_checkpoint(peer: _Peer) -> list[str]:
    damaged: list[str] = []
    (values,) = load_checkpoint(peer.folder, report=damaged.append).model_state().values()
    written = [line["state"] for line in peer.told() if "state" in line]
    if digest(values) not in written[-2:]:
        damaged.append("its last checkpoint is neither the state before the last change nor the one after it")
    return [f"{peer.folder.name}: {text}" for text in damaged]


def _wrong_with_rounds(peers: Sequence[_Peer]) -> list[str]:
    wrong = []
    by_id = {peer.peer_id(): peer for peer in peers}
    after = {name: peer.rounds() for name, peer in by_id.items()}
    for key in sorted({key for each in after.values() for key in each}):
        digests = {name: rounds[key] for name, rounds in after.items() if key in rounds}
        if len(set(digests.values())) > 1:
            wrong.append(f"round {key[0]}: its members hold different parameters: {digests}")
        last = max(key[0] for key in after[next(iter(digests))])
        missing = [
            name for name in key[1] if name not in digests and not any(key[0] in each for each in by_id[name].excused)
        ]
        # At the very end some had not yet told of the last round when they were ended.
        if missing and key[0] < last:
            wrong.append(f"round {key[0]}: {missing} lived through it and did not have it")
    return wrong
