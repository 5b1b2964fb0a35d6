"""`gossip simulate swarm` as people use it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gossiptrain.net.virtual.network import VirtualNetwork
from tests.processes import Command

SHORT = ("--peers", "3", "--seconds", "15", "--preset", "local", "--every-seconds", "2", "--processes", "1")
FEW = ("--faults", "freeze", "--faults-per-minute", "8")


def test_seeds_are_summed_up_written_and_drawn(gossip: Command) -> None:
    ended = gossip("simulate", "swarm", *SHORT, *FEW, "--json", "found.json", "--picture", "swarm.svg", "--seeds", "2")
    assert ended.code == 0, ended.err + ended.out
    for words in ("seed 1: held; ", "2 seeds, 0 failed", "rounds committed", "never reached: a donor died", "freeze"):
        assert words in ended.out
    found = json.loads(Path("found.json").read_text())
    assert [run["settings"]["seed"] for run in found["runs"]] == [0, 1]
    assert found["summary"]["committed"] == sum(run["committed"] for run in found["runs"])
    assert Path("swarm.svg").read_text().startswith("<?xml")


def test_a_seed_that_fails_tells_how_to_repeat_it(gossip: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VirtualNetwork, "thaw", lambda self, peer: None)
    ended = gossip("simulate", "swarm", *SHORT, *FEW)
    assert ended.code == 1
    assert "seed 0: FAILED" in ended.out
    repeat = (
        "gossip simulate swarm --peers 3 --seed 0 --seconds 15 --faults freeze --faults-per-minute 8 --preset local"
    )
    assert repeat in ended.out
    assert "it fails with 1 of" in ended.out
    assert "--only-faults " in ended.out


def test_the_plan_is_shown_without_running_it(gossip: Command) -> None:
    ended = gossip("simulate", "swarm", "--plan", "--seconds", "600")
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert len(lines) == 60
    assert lines[7].lstrip().startswith("7 ")
    assert gossip("simulate", "swarm", "--plan", "--seconds", "600").out == ended.out


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--faults", "magic"), "There is no fault 'magic'"),
        (("--faults", "crash:much"), "weight"),
        (("--only-faults", "three"), "--only-faults 3,7"),
        (("--peers", "1"), "peers"),
        (("--preset", "moon"), "preset"),
        (("--picture", "swarm.bmp"), "A picture is written as"),
        (("--json", "nowhere/found.json"), "there is no folder"),
        (("--magic",), "There is no flag --magic"),
    ],
)
def test_nonsense_is_refused_with_a_reason(gossip: Command, flags: tuple[str, ...], complaint: str) -> None:
    ended = gossip("simulate", "swarm", *flags)
    assert ended.code == 2
    assert complaint in ended.err
    assert not ended.out
