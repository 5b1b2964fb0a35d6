"""The process of one peer in `round`: does what it is told in lines of JSON on its standard input.

    python -m benchmarks.round.worker '{"system": "gloo", "rank": 0, "peers": 2, "elements": 250000}'

It answers each line by one on its standard output: to `open` with the peer's address; to `meet`, with the addresses
of all, and to `prepare` when done; to `run`, with a time of the monotonic clock at which to begin, with the timing of
the round or why it was incomplete. It ends when its standard input does.

Owns the conversation. Does not know any system.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from dataclasses import asdict
from typing import Any

from benchmarks.round.contender import Contender, IncompleteRoundError, Job

END_S = 10.0


class Port:
    """The lines to and from the benchmark. Whatever else is printed goes to the standard error."""

    def __init__(self) -> None:
        # Not sys.stdin: a process forked while the thread reads would wait forever for the lock in order to close it.
        self._lines = os.fdopen(os.dup(sys.stdin.fileno()))
        self._commands: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        threading.Thread(target=self._listen, daemon=True).start()

    def receive(self) -> dict[str, Any] | None:
        """The next command; None at the end."""
        return self._commands.get()

    def send(self, **answer: Any) -> None:
        """Answers a command."""
        print(json.dumps(answer), file=self._answers, flush=True)

    def _listen(self) -> None:
        for line in self._lines:
            self._commands.put(json.loads(line))
        self._commands.put(None)
        # The benchmark has ended or given up. Whoever hangs must not outlive it, nor any process that it has started.
        time.sleep(END_S)
        os.killpg(os.getpid(), signal.SIGKILL)


def contender(job: Job) -> Contender:
    """The peer for a job. Only its own system is imported."""
    name, *variant = job.system.split("-")
    if name == "hivemind":
        from benchmarks.round.hivemind_peer import Hivemind

        return Hivemind(job)
    if name == "gloo":
        from benchmarks.round.gloo_peer import Gloo

        return Gloo(job)
    if name == "tcp":
        from benchmarks.round.tcp_peer import PlainTcp

        return PlainTcp(job)
    if name == "tls":
        from benchmarks.round.tls_copy import TlsCopy

        return TlsCopy(job)
    from benchmarks.round.gossiptrain_peer import Gossiptrain

    path, codec = variant
    return Gossiptrain(job, path=path, codec=codec)


def serve(port: Port, peer: Contender) -> None:
    """Does what the benchmark says, until the end."""
    while (command := peer.idle(port.receive)) is not None:
        match command["do"]:
            case "open":
                port.send(address=peer.open())
            case "meet":
                peer.meet(command["addresses"])
                port.send()
            case "prepare":
                peer.contributions.next_round()
                peer.prepare()
                port.send()
            case "run":
                run(port, peer, begin_s=command["begin_s"])


def run(port: Port, peer: Contender, *, begin_s: float) -> None:
    """One round, and the check of its result. Raises ValueError where that is wrong."""
    try:
        timing = peer.run(begin_s)
    except IncompleteRoundError as error:
        port.send(incomplete=str(error))
        return
    difference = peer.error()
    if difference > peer.tolerance:
        raise ValueError(f"the result is wrong by up to {difference:g}")
    port.send(**asdict(timing))


def main() -> None:
    """Reads the job, then serves."""
    job = Job(**json.loads(sys.argv[1]))
    port = Port()
    peer = contender(job)
    try:
        serve(port, peer)
    finally:
        peer.close()


if __name__ == "__main__":
    main()
