"""How long a joiner needs for the parameters, from one donor and from several, and what it costs the donors.

    .venv/bin/python -m benchmarks.state_transfer
    .venv/bin/python -m benchmarks.state_transfer --donors 3 --megabytes 200 --repetitions 10 --json state.json

The donors are real: a process each with `gossip()` around a loop, its node and libp2p's daemon. They average every few
seconds. Soon after a round a joiner in this process takes the average, first from one of them and then from all, and
the next time the other way round. It begins each time with nothing. The donors note when each of their steps ended: the
steps that ended during a transfer are compared with those of as long a time, one second at least, right before it. A
computer with fewer cores than processes measures itself; what a donor's trainer does for a joiner is to share them.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import contextlib
import itertools
import json
import random
import secrets
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.measure import Summary, machine, milliseconds, show_table, summary, whole_number, write_json
from gossiptrain import events, gossip
from gossiptrain.config import GossipSettings, NetworkSettings
from gossiptrain.net.identity import Identity
from gossiptrain.net.libp2p.transport import Libp2pTransport
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.download import Download
from gossiptrain.swarm.last_average import HeldAverage
from gossiptrain.swarm.peer import Environment, SwarmPeer
from gossiptrain.swarm.state import Donation

NETWORK = NetworkSettings(host_maddrs=("/ip4/127.0.0.1/tcp/0",), open=True, preset="local")
SETTINGS = GossipSettings(strategy="average")
"""With which the average of a round is all that a joiner needs."""
MOST_STEPS = 2**53
QUIET_S = 1.0
"""Between a round and the transfer after it."""
MEET_S = 60.0
ROUND = "round"


class Bulk(nn.Module):
    """So many parameters, of which a step needs a few, however fast the computer's memory is."""

    def __init__(self, megabytes: int) -> None:
        super().__init__()
        self.bulk = nn.Parameter(torch.zeros(megabytes * 250_000 - 256 * 256))
        self.layer = nn.Linear(256, 256, bias=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Only the layer."""
        found: torch.Tensor = self.layer(inputs)
        return found


@dataclass(frozen=True)
class Transfer:
    """One transfer. given_by: how many donors gave anything. Times are those of `time.monotonic`."""

    asked: int
    given_by: int
    began_s: float
    ended_s: float


@dataclass(frozen=True)
class Row:
    """transfer_s: how long it took. kept: of a donor's speed, in each transfer; None where it was too short for a step.
    step_s, quiet_step_s: medians of the donors' steps meanwhile, and right before."""

    megabytes: int
    donors: int
    asked: int
    given_by: float
    transfer_s: Summary
    step_s: float | None
    quiet_step_s: float | None
    kept: Summary | None


# A donor.


def donate(run: str, megabytes: int, *, every_seconds: float, initial: Sequence[str]) -> None:
    """Trains until its input ends. Prints its address, a line for each round, and at last when its steps ended."""
    torch.set_num_threads(1)
    model = Bulk(megabytes)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    inputs, ended = torch.randn(512, 256), threading.Event()
    threading.Thread(target=_wait_for_end_of_input, args=(ended,), daemon=True).start()
    steps_s: list[float] = []
    with gossip(
        model,
        optimizer,
        run=run,
        task="state transfer",
        initial_peers=initial,
        every_seconds=every_seconds,
        settings=SETTINGS,
        network=NETWORK,
        on_event=lambda event: _say(ROUND) if isinstance(event, events.RoundCommitted) else None,
    ) as swarm:
        _say(swarm.addresses[0])
        while not ended.is_set():
            optimizer.zero_grad()
            model(inputs).square().mean().backward()
            optimizer.step()
            steps_s.append(time.monotonic())
        _say(json.dumps(steps_s))
        time.sleep(MEET_S)  # it is killed now, and does not end with the others


def _wait_for_end_of_input(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def donors(run: str, count: int, megabytes: int, *, every_seconds: float) -> Iterator[list[Donor]]:
    """Processes, each joined through the first, that are ended by their ids."""
    command = [sys.executable, "-m", "benchmarks.state_transfer", "--as-donor-of", run]
    command += ["--megabytes", str(megabytes), "--every-seconds", str(every_seconds)]
    processes: list[subprocess.Popen[str]] = []
    found: list[Donor] = []
    try:
        for _ in range(count):
            own = [*command, f"--initial={found[0].address}"] if found else command
            processes.append(subprocess.Popen(own, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            found.append(Donor(processes[-1]))
        yield found
    finally:
        for process in processes:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()


class Donor:
    """A donor's process, and what it says."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._input, self._output = process, process.stdin, process.stdout
        self.address = self._line()

    def wait_for_round(self) -> None:
        """Until it has committed one more."""
        while self._line() != ROUND:
            continue

    def steps_s(self) -> list[float]:
        """When each of its steps ended; it makes no more then."""
        self._input.close()
        while (line := self._line()) == ROUND:
            continue
        return [float(ended_s) for ended_s in json.loads(line)]

    def _line(self) -> str:
        line = self._output.readline().strip()
        if not line:
            raise RuntimeError(f"a donor ended with {self._process.poll()}")
        return line


# The joiner.


@contextlib.asynccontextmanager
async def joiner(run: str, megabytes: int, address: str) -> AsyncIterator[SwarmPeer]:
    """A peer of this process that has nothing and is given nothing unless it asks."""
    model = Bulk(megabytes)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    # As the donors', so that they let it in.
    swarm = gossip(
        model, optimizer, run=run, task="state transfer", settings=SETTINGS, network=NETWORK, every_seconds=1.0
    )

    async def nothing(held: HeldAverage | None, fragment: int) -> Donation | None:
        return None

    transport = await Libp2pTransport.start(NETWORK, Identity.generate())
    peer = SwarmPeer(
        Environment(transport, random.Random(0), incarnation=1),
        swarm.fingerprint,
        settings=swarm.settings,
        timing=NETWORK.timing,
        donate=nothing,
    )
    peer.membership.describe(replace(peer.membership.own, joined=False))
    try:
        await peer.open()
        await peer.join([address])
        background = asyncio.create_task(peer.run())
        try:
            yield peer
        finally:
            background.cancel()
            await asyncio.gather(background, return_exceptions=True)
    finally:
        await transport.close()


async def transfer(peer: SwarmPeer, from_: Sequence[PeerId], elements: int) -> Transfer:
    """One transfer from the beginning. Raises RuntimeError where it fails."""
    download = Download(peer.admission, np.empty(elements, np.float32))
    began_s = time.monotonic()
    received = await download.run(from_, most_steps=MOST_STEPS, failed=lambda donor, error: None)
    if received is None:
        raise RuntimeError("no donor gave its state")
    return Transfer(len(from_), received.donors, began_s, time.monotonic())


async def transfers(peer: SwarmPeer, donating: Sequence[Donor], *, elements: int, repetitions: int) -> list[Transfer]:
    """From one and from all, in turns, soon after a round each time."""
    async with asyncio.timeout(MEET_S):
        while len(peer.membership.trainers()) < len(donating):
            await peer.membership.wait_for_change(1.0)
    found: list[Transfer] = []
    everyone = sorted(peer.membership.trainers())
    for repetition in range(repetitions):
        first = everyone[repetition % len(everyone) :] + everyone[: repetition % len(everyone)]
        for asked in ([first[:1], first], [first, first[:1]])[repetition % 2]:
            await asyncio.to_thread(donating[0].wait_for_round)
            await asyncio.sleep(QUIET_S)
            found.append(await transfer(peer, asked, elements))
    return found


# What comes of it.


def kept(steps_s: Sequence[float], one: Transfer) -> tuple[list[float], list[float]]:
    """The lengths of a donor's steps during a transfer, and right before it."""
    length_s = max(QUIET_S, one.ended_s - one.began_s)
    return _steps(steps_s, one.began_s, one.ended_s), _steps(steps_s, one.began_s - length_s, one.began_s)


def _steps(ends_s: Sequence[float], after_s: float, until_s: float) -> list[float]:
    ended = ends_s[bisect.bisect(ends_s, after_s) : bisect.bisect(ends_s, until_s)]
    return [later - earlier for earlier, later in itertools.pairwise(ended)]


def row(megabytes: int, steps_s: Sequence[Sequence[float]], those: Sequence[Transfer]) -> Row:
    """One line of the table, for transfers from as many donors."""
    pairs = [kept(own, one) for one in those for own in steps_s]
    pairs = [(during, quiet) for during, quiet in pairs if during and quiet]
    ratios = [statistics.fmean(quiet) / statistics.fmean(during) for during, quiet in pairs]
    during, quiet = (list(itertools.chain(*part)) for part in zip(*pairs, strict=True)) if pairs else ([], [])
    return Row(
        megabytes,
        len(steps_s),
        those[0].asked,
        statistics.fmean(one.given_by for one in those),
        summary([one.ended_s - one.began_s for one in those]),
        statistics.median(during) if during else None,
        statistics.median(quiet) if quiet else None,
        summary(ratios) if ratios else None,
    )


def measure(count: int, *, megabytes: int, repetitions: int, every_seconds: float) -> list[Row]:
    """One line for transfers from one donor, one for those from all of them."""
    run = f"state-transfer-{secrets.token_hex(4)}"

    async def join(donating: Sequence[Donor]) -> list[Transfer]:
        async with joiner(run, megabytes, donating[0].address) as peer:
            elements = peer.fingerprint.elements
            return await transfers(peer, donating, elements=elements, repetitions=repetitions)

    with donors(run, count, megabytes, every_seconds=every_seconds) as donating:
        found = asyncio.run(join(donating))
        steps_s = [donor.steps_s() for donor in donating]
    return [row(megabytes, steps_s, [one for one in found if one.asked == asked]) for asked in (1, count)]


def show(rows: Sequence[Row]) -> None:
    """A table, one row for each number of donors that are asked."""
    shown = [
        [
            f"{one.megabytes} MB from {one.asked} of {one.donors}",
            f"{one.given_by:.1f}",
            f"{one.transfer_s.median:.2f} s",
            f"{one.transfer_s.minimum:.2f}-{one.transfer_s.maximum:.2f} s",
            _or_nothing(one.quiet_step_s),
            _or_nothing(one.step_s),
            f"{one.kept.median:.0%} ({one.kept.minimum:.0%}-{one.kept.maximum:.0%})" if one.kept else "",
        ]
        for one in rows
    ]
    columns = ["", "gave", "transfer", "least-most", "step before", "step meanwhile", "speed kept"]
    show_table("The parameters for a joiner", columns, shown)


def _or_nothing(seconds: float | None) -> str:
    return "" if seconds is None else milliseconds(seconds)


def main() -> None:
    """Reads the arguments, measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--donors", type=whole_number(2, 16), default=3, metavar="N", help="(3)")
    parser.add_argument(
        "--megabytes", type=whole_number(1, 4000), default=100, metavar="MB", help="of parameters (100)"
    )
    parser.add_argument("--repetitions", type=whole_number(1), default=5, metavar="N", help="of each kind (5)")
    parser.add_argument("--every-seconds", type=float, default=10.0, metavar="S", help="between rounds (10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--as-donor-of", metavar="RUN", help=argparse.SUPPRESS)
    parser.add_argument("--initial", action="append", default=[], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.as_donor_of is not None:
        donate(given.as_donor_of, given.megabytes, every_seconds=given.every_seconds, initial=given.initial)
        return
    where = machine()
    rows = measure(
        given.donors, megabytes=given.megabytes, repetitions=given.repetitions, every_seconds=given.every_seconds
    )
    show(rows)
    if given.json is not None:
        write_json(given.json, benchmark="state transfer", measured_on=where, results=rows)


if __name__ == "__main__":
    main()
