"""The commands with which others join: ready to paste, or why there is none."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from gossiptrain.cli.join_text import command_of, join_command, join_text, own_program
from gossiptrain.cli.train_flags import TRAIN_FLAGS
from gossiptrain.config import GossipSettings, NetworkSettings, Settings
from gossiptrain.events import Started
from gossiptrain.net.addresses import listening_addresses
from gossiptrain.training.settings import TrainSettings

PEER_ID = "12D3KooWGRUaAYQbLM5gPeJcoWcTcqS8DkFTbdKPJYxmpvx8vWTY"
HERE = f"/ip4/127.0.0.1/tcp/4011/p2p/{PEER_ID}"
NEAR = f"/ip4/192.168.1.7/tcp/4011/p2p/{PEER_ID}"
FAR = f"/ip4/8.8.4.4/tcp/4011/p2p/{PEER_ID}"
COMMAND = ["gossip", "train", "digits"]


def text_for(*addresses: str, command: list[str] = COMMAND) -> list[str]:
    started = Started(
        peer_id=PEER_ID,
        run="digits",
        task="digits",
        addresses=addresses,
        device="cpu",
        parameters=1,
        samples=1,
        first=True,
    )
    return join_text(started, command=command).splitlines()


def test_there_is_a_command_for_this_computer_this_network_and_the_internet() -> None:
    assert text_for(HERE, NEAR, FAR) == [
        "Others join with:",
        f"  this computer  gossip train digits --initial-peer {HERE}",
        f"  this network   gossip train digits --initial-peer {NEAR}",
        f"  the internet   gossip train digits --initial-peer {FAR}",
    ]


def test_without_a_public_address_it_says_how_to_get_one() -> None:
    lines = text_for(HERE, NEAR)
    assert lines[3].startswith("  the internet   not possible yet")
    assert "--announce-maddr" in lines[4]
    assert "gossip bootstrap" in lines[5]


def test_a_peer_that_listens_on_this_computer_alone_says_what_would_open_it() -> None:
    lines = text_for(HERE)
    assert lines[2].startswith("  this network   not possible")
    assert "--host-maddr /ip4/0.0.0.0/tcp/0" in lines[2]


def test_of_several_addresses_of_one_kind_one_is_enough() -> None:
    other = NEAR.replace(".1.7", ".2.7")
    assert len([line for line in text_for(HERE, NEAR, other) if "this network" in line]) == 1


USUAL = {"gossip.strategy": "gradual", "gossip.every_steps": 100, "train.batch": 32, "train.epochs": 1000.0}
"""What holds for a task where nothing is said, and a resumed run has in its settings."""


def command_for(train: TrainSettings, gossip: GossipSettings, network: NetworkSettings | None = None) -> str:
    settings: dict[str, Settings] = {"train": train, "gossip": gossip, "network": network or NetworkSettings()}
    return shlex.join(command_of(settings, task=train.task, usual=USUAL)[len(own_program()) :])


def test_the_command_for_others_carries_the_whole_recipe() -> None:
    train = TrainSettings(task="digits", run="mine", batch=64, epochs=50, learning_rate=0.1, share="1/4", seed=7)
    gossip = GossipSettings(
        gossip_group_size=4, gossip_min_group_size=3, gossip_alpha=0.9, strategy="diloco", codec="int8", every_steps=10
    )
    told = command_for(train, gossip, NetworkSettings(preset="wan", relay=True))
    assert told == (
        "train digits --run mine --preset wan --gossip-group-size 4 --gossip-min-group-size 3 --gossip-alpha 0.9 "
        "--strategy diloco --codec int8 --every-steps 10 --batch 64 --epochs 50 --lr 0.1"
    )


def test_what_is_usual_for_the_task_need_not_be_said() -> None:
    train = TrainSettings(task="text", variant={"model": "tiny"}, batch=32, epochs=1000)
    assert command_for(train, GossipSettings(strategy="gradual", every_steps=100)) == "train text --model tiny"


def test_what_is_about_one_computer_alone_is_not_carried() -> None:
    told = {flag.fills for flag in TRAIN_FLAGS if flag.of_recipe or flag.equal_for_all}
    assert not told & {"train.share", "train.device", "train.data_dir", "train.seed", "train.threads", "network.relay"}
    assert {"train.batch", "train.learning_rate", "gossip.codec", "gossip.every_seconds", "network.preset"} <= told


def test_where_another_address_is_announced_the_own_ones_are_shown_as_well() -> None:
    started = Started(
        peer_id=PEER_ID, run="r", task="digits", addresses=(FAR,), device="cpu", parameters=1, samples=1, first=True
    )
    listens = ["/ip4/127.0.0.1/tcp/4031", "/ip4/192.168.1.7/tcp/4031"]
    lines = join_text(started, command=COMMAND, listens=listens).splitlines()
    assert lines[1].endswith(f"--initial-peer /ip4/127.0.0.1/tcp/4031/p2p/{PEER_ID}")
    assert lines[2].endswith(f"--initial-peer /ip4/192.168.1.7/tcp/4031/p2p/{PEER_ID}")
    assert lines[3].endswith(f"--initial-peer {FAR}")


def test_a_peer_can_be_dialled_at_all_own_addresses_where_it_listens_at_all() -> None:
    found = listening_addresses(["/ip4/0.0.0.0/tcp/4031", "/ip4/0.0.0.0/tcp/0", "/ip6/::1/tcp/4032"])
    assert "/ip4/127.0.0.1/tcp/4031" in found
    assert "/ip6/::1/tcp/4032" in found
    assert all(address.endswith(("/tcp/4031", "/tcp/4032")) for address in found)


def test_a_command_can_be_pasted_into_a_shell_whatever_the_name_of_the_run_is() -> None:
    command = [*COMMAND, "--run", "it's mine; rm -rf /"]
    assert shlex.split(join_command(HERE, command)) == [*command, "--initial-peer", HERE]


@pytest.mark.parametrize(
    ("called", "on_the_path", "typed"),
    [
        ("src/trainGossip.py", False, ["python", "src/trainGossip.py"]),
        ("/somewhere/site-packages/gossiptrain/__main__.py", False, ["python", "-m", "gossiptrain"]),
        (".venv/bin/gossip", False, [".venv/bin/gossip"]),
        ("{here}/.venv/bin/gossip", False, [".venv/bin/gossip"]),
        ("{here}/.venv/bin/gossip", True, ["gossip"]),
        ("/somewhere/else/gossip", False, ["gossip"]),
    ],
)
def test_commands_begin_as_the_program_can_be_called_here(
    called: str, on_the_path: bool, typed: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / ".venv" / "bin" / "gossip"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(program.parent) if on_the_path else "/nowhere")
    monkeypatch.setattr(sys, "argv", [called.format(here=tmp_path)])
    assert own_program() == typed
