"""The tutorials, played: what is typed works, and what is promised to be seen is seen.

Each is played quickly, and in the long tests once more as it is typed: by bash, in a clone with nothing prepared.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.processes import GENEROUS_S, Family
from tests.shell_commands import Session, program_of, wait_for

SPIRALS = "docs/tutorials/your-model.md"
BOTH_WAYS = pytest.mark.parametrize(
    "typed", [pytest.param(False, id="quickly"), pytest.param(True, id="as typed", marks=pytest.mark.long)]
)
ADDRESS = r"this computer .* (/ip4/127\.0\.0\.1/tcp/\d+/p2p/\w+)$"
MET = r"2 peers  \d+ rounds? \(last: 2 peers"


@BOTH_WAYS
@pytest.mark.timeout(400)
def test_a_first_swarm_on_one_computer(family: Family, typed: bool) -> None:
    session = Session(family, typed=typed)
    session.run("gossip train digits --alone --share 1/2 --out runs/alone", added="--epochs 20")
    assert "accuracy" in session.run("gossip eval runs/alone").splitlines()[-1]

    hurry = "--preset local --threads 1"
    one = session.type("gossip train digits --share 1/2 --epochs 100000 --out runs/one", added=hurry)
    address = wait_for(one, ADDRESS)
    together = "gossip train digits --share 2/2 --epochs 100000 --out runs/two --initial-peer <ADDRESS>"
    two = session.type(together, added=hurry, ADDRESS=address)
    wait_for(two, "took the parameters of step ")
    for peer in (one, two):
        wait_for(peer, MET)
    two.kill()
    wait_for(one, "does not answer any more, this peer is alone now")

    again = session.type("gossip train digits --resume runs/two")
    wait_for(again, MET)
    for peer in (one, again):
        peer.signal(signal.SIGINT)
        assert peer.wait() == 0, peer.err
    assert "final merge of 2 peers" in one.out
    assert "finished, stopped on request" in one.out

    assert "accuracy" in session.run("gossip eval runs/one")
    assert "merged from 2 checkpoints" in session.run("gossip eval runs/one runs/two")
    session.run("gossip export runs/one --to model.safetensors")
    assert (session.folder / "model.safetensors").is_file()
    lines = session.run("tail -n 3 runs/one/metrics.jsonl").splitlines()
    assert json.loads(lines[-1])["event"] == "finished"


@pytest.mark.real
def test_your_own_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program, as two peers in threads of this process and with fewer steps."""
    monkeypatch.chdir(tmp_path)
    program = compile(program_of(SPIRALS).replace("STEPS = 2000", "STEPS = 300"), SPIRALS, "exec")
    told: list[tuple[Any, ...]] = []
    is_up = threading.Event()

    def tell(*words: Any, **_: Any) -> None:
        told.append(words)
        is_up.set()

    def peer(arguments: list[str]) -> None:
        monkeypatch.setattr(sys, "argv", ["my_loop.py", *arguments])
        exec(program, {"print": tell})

    first = threading.Thread(target=peer, args=([],))
    first.start()
    assert is_up.wait(GENEROUS_S)
    assert told[0][0] == "address"
    peer([told[0][1]])
    first.join()
    ends = [words[0] for words in told if "accuracy" in str(words[0])]
    assert len(ends) == 2
    assert all(int(text.split()[0]) >= 1 for text in ends), ends
    one, other = (path.read_bytes() for path in tmp_path.glob("spirals-*.safetensors"))
    assert one == other


@BOTH_WAYS
@pytest.mark.timeout(400)
def test_a_trained_model_that_writes(family: Family, typed: bool) -> None:
    session = Session(family, typed=typed)
    (session.folder / "input.txt").write_text("The cat sat on the mat.\n" * 400)
    few = "--max-steps 20 --threads 1 --data-dir ."
    trained = session.run("gossip train text --model tiny --alone --out runs/writer", added=few)
    assert "next: gossip sample runs/writer, " in trained
    written = session.run("gossip sample runs/writer --prompt ROMEO: --length 200")
    assert written.startswith("ROMEO:")
    assert len(written.encode()) >= len("ROMEO:") + 150
    one, other = (session.run("gossip sample runs/writer --temperature 0.5 --seed 1") for _ in range(2))
    assert one == other
    if typed:
        page = session.run("echo Once upon | gossip sample runs/writer --prompt - | head -n 3")
        assert page.startswith("Once upon")
