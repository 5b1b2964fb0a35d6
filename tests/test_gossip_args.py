"""The classic command lines of the command and the three scripts: flags, defaults, both spellings, ranges."""

from __future__ import annotations

import contextlib
import io
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gossiptrain.cli import main as cli
from gossiptrain.config import Settings
from gossiptrain.training import parts, trainer
from gossiptrain.training.parts import TrainerInputs

ROOT = Path(__file__).parents[1]
PEER_ID = "12D3KooWGRUaAYQbLM5gPeJcoWcTcqS8DkFTbdKPJYxmpvx8vWTY"
SCRIPTS = {
    "src/trainGossip.py": "digits",
    "src/trainGossipCifar.py": "cifar10",
    "src/trainGossipImagenet.py": "imagenet",
}
ENTRY_POINTS = ["gossip train digits", *(f"python {script}" for script in SCRIPTS)]
GOSSIP_FLAGS = ["gossip_group_size", "gossip_min_group_size", "gossip_alpha"]

Understood = Callable[[str], TrainerInputs]


@pytest.fixture
def understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Understood:
    """Runs a command line up to the point where training would begin, and gives what the trainer was told."""
    inputs_given: list[TrainerInputs] = []

    class Listener:
        """Stands in the place of the trainer's parts, which read data, and only listens."""

        def __init__(self, inputs: TrainerInputs) -> None:
            inputs_given.append(inputs)

        @property
        def resolved(self) -> dict[str, Settings]:
            given = inputs_given[-1]
            return {"train": given.train, "gossip": given.gossip, "network": given.network}

    class Idle:
        """Stands in the trainer's place and does nothing."""

        def __init__(self, inputs: TrainerInputs, parts: Listener) -> None:
            pass

        def run(self) -> None:
            pass

    monkeypatch.setattr(parts, "Parts", Listener)
    monkeypatch.setattr(trainer, "Trainer", Idle)
    monkeypatch.syspath_prepend(str(ROOT / "src"))
    monkeypatch.chdir(tmp_path)

    def run(line: str) -> TrainerInputs:
        assert run_line(line, monkeypatch) == 0
        return inputs_given[-1]

    return run


def run_line(line: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of a command line, run in this process; scripts are run as `python SCRIPT` runs them."""
    program, *arguments = shlex.split(line)
    try:
        if program == "gossip":
            cli.main(arguments)
        monkeypatch.setattr(sys, "argv", arguments)
        runpy.run_path(str(ROOT / arguments[0]), run_name="__main__")
    except SystemExit as ended:
        return int(ended.code or 0)
    raise AssertionError("a command ends with an exit code")


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_the_defaults_are_sixteen_two_and_one(understood: Understood, entry_point: str) -> None:
    told = understood(entry_point).gossip
    assert (told.gossip_group_size, told.gossip_min_group_size, told.gossip_alpha) == (16, 2, 1.0)


@pytest.mark.parametrize(("script", "task"), SCRIPTS.items())
def test_each_script_is_the_trainer_with_its_task(understood: Understood, script: str, task: str) -> None:
    assert understood(f"python {script}").train.task == task
    assert understood(f"gossip train {task}").train.task == task


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
@pytest.mark.parametrize(
    "flags",
    [
        "--gossip_group_size 8 --gossip_min_group_size 3 --gossip_alpha 0.9",
        "--gossip-group-size 8 --gossip-min-group-size 3 --gossip-alpha 0.9",
        "--gossip_group_size=8 --gossip_min_group_size=3 --gossip_alpha=0.9",
        "--gossip-group-size=8 --gossip-min_group-size 3 --gossip_alpha=.9",
    ],
)
def test_underscores_hyphens_and_equals_signs_mean_the_same(
    understood: Understood, entry_point: str, flags: str
) -> None:
    told = understood(f"{entry_point} {flags}").gossip
    assert (told.gossip_group_size, told.gossip_min_group_size, told.gossip_alpha) == (8, 3, 0.9)


def test_the_first_line_of_two_terminals(understood: Understood) -> None:
    told = understood("python src/trainGossipCifar.py --host_maddr /ip4/0.0.0.0/tcp/4011")
    assert told.train.task == "cifar10"
    assert told.network.host_maddrs == ("/ip4/0.0.0.0/tcp/4011",)
    assert told.network.initial_peers == ()


def test_the_second_line_of_two_terminals(understood: Understood) -> None:
    address = f"/ip4/127.0.0.1/tcp/4011/p2p/{PEER_ID}"
    told = understood(
        f"python src/trainGossipCifar.py --initial_peer {address} --host_maddr /ip4/0.0.0.0/tcp/4012",
    ).network
    assert told.initial_peers == (address,)
    assert told.host_maddrs == ("/ip4/0.0.0.0/tcp/4012",)


def test_the_line_with_group_sizes_batch_and_epochs(understood: Understood) -> None:
    told = understood(
        "python src/trainGossipCifar.py --host_maddr /ip4/0.0.0.0/tcp/4011 --gossip_group_size 8 "
        "--gossip_min_group_size 3 --gossip_alpha 0.9 --batch 64 --epochs 20"
    )
    assert (told.gossip.gossip_group_size, told.gossip.gossip_min_group_size, told.gossip.gossip_alpha) == (8, 3, 0.9)
    assert (told.train.batch, told.train.epochs) == (64, 20.0)
    assert told.network.host_maddrs == ("/ip4/0.0.0.0/tcp/4011",)


def test_several_peers_and_addresses_may_be_given(understood: Understood) -> None:
    peers = [f"/ip4/192.0.2.{host}/tcp/4011/p2p/{PEER_ID}" for host in (1, 2)]
    told = understood(
        f"gossip train digits --initial_peer {peers[0]} --initial-peer={peers[1]} "
        "--host_maddr /ip4/127.0.0.1/tcp/0 --host-maddr /ip4/127.0.0.1/udp/0/quic-v1"
    ).network
    assert told.initial_peers == tuple(peers)
    assert told.host_maddrs == ("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1")


@pytest.mark.parametrize("flag", ["--matchmaking-time", "--matchmaking_time", "--min_matchmaking_time"])
def test_the_wait_for_stragglers_has_its_old_name_too(understood: Understood, flag: str) -> None:
    assert understood("gossip train digits").gossip.matchmaking_time == 5.0
    assert understood(f"gossip train digits {flag} 2.5").gossip.matchmaking_time == 2.5


def test_who_meets_whom_can_be_told(understood: Understood) -> None:
    assert understood("gossip train digits").gossip.grouping == "auto"
    assert understood("gossip train digits --grouping exponential").gossip.grouping == "exponential"


@pytest.mark.parametrize(
    ("flags", "name", "value"),
    [
        ("--lr 0.1", "learning_rate", 0.1),
        ("--learning_rate 0.1", "learning_rate", 0.1),
        ("--seed 7", "seed", 7),
        ("--max_steps 10", "max_steps", 10),
        ("--max-seconds 1.5", "max_seconds", 1.5),
        ("--eval_every 0", "eval_every", 0),
        ("--device cpu", "device", "cpu"),
        ("--threads 2", "threads", 2),
        ("--precision bf16", "precision", "bf16"),
        ("--share 2/4", "share", "2/4"),
        ("--data_dir /somewhere", "data_dir", Path("/somewhere")),
        ("--run mine", "run", "mine"),
        ("--checkpoint_every 30", "checkpoint_every", 30.0),
    ],
)
def test_the_flags_of_training_reach_the_trainer(understood: Understood, flags: str, name: str, value: object) -> None:
    assert getattr(understood(f"gossip train digits {flags}").train, name) == value


def test_the_variant_of_imagenet_reaches_the_trainer(understood: Understood) -> None:
    told = understood("python src/trainGossipImagenet.py --model resnet50 --image_size 160")
    assert told.train.variant == {"model": "resnet50", "image_size": 160}


@pytest.mark.parametrize(
    "flags",
    [
        "--gossip_group_size 2",
        "--gossip_group_size 64",
        "--gossip_min_group_size 2",
        "--gossip_min_group_size 16",
        "--gossip_alpha 0.1",
        "--gossip_alpha 1",
    ],
)
def test_both_ends_of_each_range_are_allowed(understood: Understood, flags: str) -> None:
    name, value = flags.removeprefix("--").split()
    assert getattr(understood(f"gossip train digits {flags}").gossip, name) == float(value)


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--gossip_group_size", "1"),
        ("--gossip_group_size", "65"),
        ("--gossip_min_group_size", "1"),
        ("--gossip_min_group_size", "17"),
        ("--gossip_alpha", "0.05"),
        ("--gossip_alpha", "1.1"),
        ("--gossip_alpha", "nan"),
        ("--batch", "0"),
        ("--epochs", "-1"),
        ("--matchmaking_time", "0"),
        ("--every_steps", "0"),
        ("--every_seconds", "-3"),
        ("--max_seconds", "inf"),
    ],
)
def test_a_value_out_of_range_ends_with_two_and_the_name_of_the_setting(
    understood: Understood,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    entry_point: str,
    flag: str,
    value: str,
) -> None:
    assert run_line(f"{entry_point} {flag}={value}", monkeypatch) == 2
    said = capsys.readouterr()
    assert flag.removeprefix("--") in said.err
    assert f"not {float(value):g}"[:6] in said.err
    assert said.out == ""
    assert list(Path.cwd().iterdir()) == [], "nothing was begun"


@pytest.mark.parametrize("flag", GOSSIP_FLAGS)
def test_what_is_no_number_ends_with_two_and_the_name_of_the_flag(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    assert run_line(f"gossip train digits --{flag} many", monkeypatch) == 2
    assert re.search(rf"--{flag} takes a (whole )?number, not 'many'", capsys.readouterr().err)


def test_a_minimum_above_the_group_size_ends_with_two_and_names_both(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "gossip train digits --gossip_group_size 4 --gossip_min_group_size 8"
    assert run_line(line, monkeypatch) == 2
    said = capsys.readouterr().err
    assert "gossip_min_group_size (8) is larger than gossip_group_size (4)" in said


@pytest.mark.parametrize("line", ["gossip train digits --gossip_groupsize 8", "gossip train digits stray", "gossip"])
def test_a_line_that_is_not_understood_ends_with_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    assert run_line(line, monkeypatch) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_an_unknown_task_is_named_with_those_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_line("gossip train mnist", monkeypatch) == 2
    said = capsys.readouterr().err
    assert "'mnist'" in said
    assert "digits, cifar10, imagenet" in said


def test_help_names_every_flag_with_its_range_and_shows_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    help_text = io.StringIO()
    with contextlib.redirect_stdout(help_text), pytest.raises(SystemExit) as ended:
        cli.main(["train", "--help"])
    assert ended.value.code == 0
    shown = " ".join(help_text.getvalue().split())
    for flag in ("--gossip-group-size", "--gossip-min-group-size", "--gossip-alpha", "--initial-peer", "--host-maddr"):
        assert flag in shown
    for words in ("2-64 (16)", "2-16 (2)", "0.1-1.0 (1.0)", "gossip train cifar10 --host-maddr /ip4/0.0.0.0/tcp/4011"):
        assert words in shown


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_scripts_run_from_the_root_of_the_repository(script: str) -> None:
    """As separate processes, by their relative path, and fast: nobody waits for torch to hear that a flag is wrong."""
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", script, "--gossip_group_size", "100"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert "--gossip_group_size takes a whole number from 2 to 64, not 100" in ended.stderr
    assert "Traceback" not in ended.stderr
    imported = {
        line.rpartition("|")[2].strip() for line in ended.stderr.splitlines() if line.startswith("import time:")
    }
    assert "gossiptrain.cli.main" in imported
    assert not imported & {"torch", "hivemind"}


@pytest.mark.parametrize("line", ["--direct libp2p --direct-port 4013", "--lane libp2p --lane-port 4013"])
def test_direct_connections_are_set_by_their_flags_and_by_the_former_ones(understood: Understood, line: str) -> None:
    network = understood(f"gossip train digits {line}").network
    assert (network.direct, network.direct_port) == ("libp2p", 4013)


def test_the_upload_limit_is_none_unless_it_is_given(understood: Understood) -> None:
    assert understood("gossip train digits").network.upload_limit is None
    assert understood("gossip train digits --upload-limit 2.5").network.upload_limit == 2.5
