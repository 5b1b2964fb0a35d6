"""Two peers with a model of a billion parameters on one computer: what of memory and of time in steps gossip takes.

    .venv/bin/python -m benchmarks.large_model
    .venv/bin/python -m benchmarks.large_model --millions 300 --rounds 20 --fragments 1 --json large.json

Each peer is a process with `gossip()` around a loop whose steps change every parameter in float32, by gradients that
are as large as the model, with plain SGD. The first one trains alone; then the second one joins and takes over its
parameters, and rounds follow until each has had `--rounds`. Both end at one moment, and their models are compared bit
by bit. What a step waits because of gossip is what its hook takes. Memory is that of a peer's processes together (what
several share counts in parts), less model and gradients. It takes some 17 bytes for each parameter.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from blake3 import blake3
from torch import nn

from benchmarks.measure import machine, milliseconds, show_table, whole_number, write_json
from benchmarks.overhead.processes import pss
from benchmarks.speaking_process import SpeakingProcess, Word, say
from gossiptrain import events, gossip
from gossiptrain.config import GossipSettings, NetworkSettings

NETWORK = NetworkSettings(host_maddrs=("/ip4/127.0.0.1/tcp/0",), preset="local")
TENSOR = 4_000_000
FLOAT_BYTES = 4
SAMPLE_S = 2.0
WAIT_S = 900.0


@dataclass(frozen=True)
class Job:
    """parameters: of the model. fragments: None for what is found by itself. every_s: between rounds with all of it."""

    parameters: int
    fragments: int | None
    every_s: float

    @property
    def flags(self) -> list[str]:
        """On the command line of a peer."""
        fragments = ["--fragments", str(self.fragments)] if self.fragments else []
        return ["--millions", str(self.parameters // 1_000_000), "--every", str(self.every_s), *fragments]


@dataclass(frozen=True)
class PeerFound:
    """What one peer came to.

    before_bytes: its memory before `gossip()`, beyond model and gradients. beyond_bytes: most of it while two trained.
    joined_s: until it held the parameters, of the one that joined. waits: the longest of its steps' hooks, each of
    which may have served a round, a joiner, or both.
    """

    peer: str
    rounds: int
    steps: int
    step_s: float
    round_s: float
    round_mb: float
    longest_wait_s: float
    before_bytes: float
    beyond_bytes: float
    joined_s: float | None
    digest: str


# One peer.


class Layers(nn.Module):
    """So many parameters in tensors of `TENSOR`, with their gradients."""

    def __init__(self, parameters: int) -> None:
        super().__init__()
        lengths = [TENSOR] * (parameters // TENSOR) + [parameters % TENSOR] * bool(parameters % TENSOR)
        self.layers = nn.ParameterList(nn.Parameter(torch.full((length,), 0.5)) for length in lengths)
        for layer in self.layers:
            layer.grad = torch.full_like(layer, 1e-3)


def train(job: Job, initial: Sequence[str]) -> None:
    """Trains until its input says "end", and prints what happens, as lines of JSON."""
    torch.set_num_threads(1)
    model = Layers(job.parameters)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    ended, began_s = threading.Event(), 0.0
    threading.Thread(target=_hear_end, args=(ended,), daemon=True).start()
    waits_s: list[float] = []

    def begin(*_: object) -> None:
        nonlocal began_s
        began_s = time.monotonic()

    say("before", pid=None)
    settings = GossipSettings(every_seconds=job.every_s, fragments=job.fragments, matchmaking_time=30.0)
    # Hooks run in the order of their registration: that of gossip() comes between these two.
    optimizer.register_step_post_hook(begin)
    with gossip(
        model,
        optimizer,
        run="large",
        task="large",
        initial_peers=initial,
        settings=settings,
        network=NETWORK,
        on_event=_tell,
    ) as swarm:
        optimizer.register_step_post_hook(lambda *_: waits_s.append(time.monotonic() - began_s))
        say("up", address=swarm.addresses[0])
        started_s = time.monotonic()
        while not ended.is_set():
            optimizer.step()
        step_s = (time.monotonic() - started_s) / max(1, len(waits_s))
    digest = blake3()
    for layer in model.layers:
        digest.update(layer.detach().numpy().data.cast("B"))
    say("end", digest=digest.hexdigest(), waits=waits_s, step_s=step_s)


def _tell(event: events.Event) -> None:
    if isinstance(event, events.RoundCommitted):
        say("round", seconds=event.seconds, sent=event.bytes_sent, final=event.final)
    elif isinstance(event, events.Joined):
        say("joined", seconds=event.seconds)
    elif isinstance(event, events.RoundFailed) and not event.alone:
        say("failed", reason=event.reason)


def _hear_end(ended: threading.Event) -> None:
    sys.stdin.readline()
    ended.set()


# Both of them, as they are seen from outside.


class Peer:
    """A process, and what it takes."""

    def __init__(self, job: Job, initial: Sequence[str] = ()) -> None:
        command = [sys.executable, "-m", "benchmarks.large_model", "--as-peer", *job.flags]
        for address in initial:
            command += ["--initial-peer", address]
        self._job = job
        self._beyond_bytes: list[float] = []
        self.before_bytes = 0.0
        self.process = SpeakingProcess(command, on_word=self._note)

    def _note(self, word: Word) -> None:
        if word["what"] == "before":
            self.before_bytes = self.weigh()

    def weigh(self) -> float:
        """Bytes that its processes take now, beyond model and gradients."""
        found = sum(pss(pid)[0] for pid in _family(self.process.pid))
        return found - 2 * FLOAT_BYTES * self._job.parameters

    def weigh_on(self) -> None:
        """Notes what it takes now."""
        self._beyond_bytes.append(self.weigh())

    def found(self, name: str, *, from_wait: int) -> PeerFound:
        """from_wait: number of the first step that counts."""
        (last,) = self.process.said("end")
        rounds = [told for told in self.process.said("round") if not told["final"]]
        joined = self.process.said("joined")
        return PeerFound(
            peer=name,
            rounds=len(rounds),
            steps=len(last["waits"]),
            step_s=last["step_s"],
            round_s=statistics.median(told["seconds"] for told in rounds),
            round_mb=max(told["sent"] for told in rounds) / 1e6,
            longest_wait_s=max(last["waits"][from_wait:]),
            before_bytes=self.before_bytes,
            beyond_bytes=max(self._beyond_bytes),
            joined_s=joined[0]["seconds"] if joined else None,
            digest=last["digest"],
        )


def _family(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        for child in (thread / "children").read_text().split():
            yield from _family(int(child))


@contextmanager
def ended_afterwards(peers: list[Peer]) -> Iterator[None]:
    """Whatever happens, no process is left."""
    try:
        yield
    finally:
        for peer in peers:
            peer.process.close()


def measure(job: Job, *, rounds: int) -> list[PeerFound]:
    """One training of two."""
    peers = [Peer(job)]
    with ended_afterwards(peers):
        address = peers[0].process.wait_for("up", longest_s=WAIT_S)["address"]
        peers.append(Peer(job, [address]))
        while any(len(peer.process.said("round")) < rounds for peer in peers):
            if any(peer.process.has_ended for peer in peers):
                raise RuntimeError("a peer has ended")
            for peer in peers:
                if peer.process.said("up"):
                    peer.weigh_on()
            time.sleep(SAMPLE_S)
        for peer in peers:
            peer.weigh_on()
            peer.process.tell("end")
        for peer in peers:
            peer.process.wait_for("end", longest_s=WAIT_S)
        # A step in which training begins is not measured: nothing of the model has been touched by gossip before.
        return [peer.found(name, from_wait=1) for name, peer in zip(("donor", "joiner"), peers, strict=True)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--millions", type=whole_number(1, 100_000), default=1000, help="of parameters")
    parser.add_argument("--fragments", type=whole_number(1, 256), default=None)
    parser.add_argument("--rounds", type=whole_number(1), default=40)
    parser.add_argument("--every", type=float, default=60.0, metavar="SECONDS", help="between rounds with all of it")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--as-peer", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--initial-peer", action="append", default=[], help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    job = Job(given.millions * 1_000_000, given.fragments, given.every)
    if given.as_peer:
        train(job, given.initial_peer)
        return 0
    found = measure(job, rounds=given.rounds)
    measured_on = machine()
    print(json.dumps(measured_on))
    columns = (
        *("peer", "rounds", "a round", "MB sent", "a step", "longest wait", "memory before, MB", "beyond, MB"),
        "joined after",
    )
    show_table(
        f"{given.millions} million parameters, {len({each.digest for each in found})} model", columns, _rows(found)
    )
    if given.json:
        write_json(given.json, benchmark="large_model", measured_on=measured_on, results=found)
    return 0 if len({each.digest for each in found}) == 1 else 1


def _rows(found: Sequence[PeerFound]) -> list[tuple[str, ...]]:
    return [
        (
            each.peer,
            str(each.rounds),
            f"{each.round_s:.2f} s",
            f"{each.round_mb:.0f}",
            f"{each.step_s:.2f} s",
            milliseconds(each.longest_wait_s),
            f"{each.before_bytes / 1e6:.0f}",
            f"{each.beyond_bytes / 1e6:.0f}",
            "" if each.joined_s is None else f"{each.joined_s:.1f} s",
        )
        for each in found
    ]


if __name__ == "__main__":
    sys.exit(main())
