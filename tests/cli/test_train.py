"""Mistakes of the user: each with a clear message and its own exit code, nothing lost, and never a traceback."""

from __future__ import annotations

import json
import socket
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from gossiptrain.cli.train_flags import GOSSIP_FLAGS
from gossiptrain.core.fingerprint import CommonSettings
from gossiptrain.training.bus import EventBus
from gossiptrain.training.runs.checkpoint_folders import list_checkpoints
from gossiptrain.training.runs.checkpoints import load_checkpoint
from gossiptrain.training.runs.folder import RunFolder
from gossiptrain.training.tasks import task_named
from tests.members import LOCAL, Member
from tests.processes import Command
from tests.training.tasks.cifar_samples import write_folder
from tests.training.tasks.image_trees import write_tree

PEER_ID = "12D3KooWGRUaAYQbLM5gPeJcoWcTcqS8DkFTbdKPJYxmpvx8vWTY"


@pytest.fixture
def busy_port() -> Iterator[int]:
    """A port at which another program listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def run(gossip: Command) -> Path:
    """The folder of a short run."""
    ended = gossip.train("--alone", "--max-steps", "5", "--out", "run")
    assert ended.code == 0, ended.err
    return Path("run")


def test_the_commands_for_others_carry_every_setting_that_is_compared_when_peers_meet() -> None:
    carried = {flag.field for flag in GOSSIP_FLAGS if flag.equal_for_all}
    assert {field.name for field in fields(CommonSettings)} <= carried


def everything_in(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# Addresses and peers.


@pytest.mark.parametrize(
    ("flag", "address", "words"),
    [
        ("--host-maddr", "/ip4/0.0.0.0:4011", "has not the form"),
        ("--host-maddr", "/ip4/300.0.0.0/tcp/4011", "is not an IPv4 address"),
        ("--host-maddr", "/ip4/0.0.0.0/tcp/70000", "is not a port"),
        ("--announce-maddr", "/ip4/203.0.113.7/tcp/0", "the real port"),
        ("--initial-peer", "192.0.2.7:4011", "has not the form"),
        ("--initial-peer", "/ip4/192.0.2.7/tcp/4011", "/p2p/ID is missing at its end"),
        ("--initial-peer", "/ip4/192.0.2.7/tcp/4011/p2p/12D3KooW...", "is not the id of a peer"),
        ("--initial-peer", f"/ip4/192.0.2.7/tcp/0/p2p/{PEER_ID}", "at port 0"),
    ],
)
def test_a_malformed_address_is_named_with_what_is_wrong_and_an_example(
    gossip: Command, flag: str, address: str, words: str
) -> None:
    ended = gossip.train(flag, address)
    assert ended.code == 11
    assert address in ended.err
    assert words in ended.err
    assert "An address looks like /ip4/" in ended.err


def test_a_port_in_use_is_named(gossip: Command, busy_port: int) -> None:
    ended = gossip.train("--host-maddr", f"/ip4/127.0.0.1/tcp/{busy_port}")
    assert ended.code == 12
    assert f"Port {busy_port} is in use" in ended.err
    assert "choose another port" in ended.err


def test_an_initial_peer_that_is_dead_is_named(gossip: Command, busy_port: int) -> None:
    address = f"/ip4/127.0.0.1/tcp/9/p2p/{PEER_ID}"
    ended = gossip.train("--initial-peer", address)
    assert ended.code == 13
    assert address in ended.err
    assert "any peer that is alive now" in ended.err


def test_the_swarm_of_another_model_says_so(gossip: Command) -> None:
    with Member(0.0, run="digits", task=task_named("digits").description) as other:
        ended = gossip.train("--initial-peer", other.address)
    assert ended.code == 14
    assert "the model differs: 17,226 averaged values here, 1,000 there" in ended.err
    assert "another run" in ended.err


def test_two_peers_never_share_an_identity(gossip: Command, tmp_path: Path) -> None:
    with Member(0.0, network=LOCAL.model_copy(update={"identity_path": str(tmp_path / "key")})):
        ended = gossip.train("--identity", "key")
    assert ended.code == 15
    assert "in use by another live peer" in ended.err


# Settings.


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--device", "gpu"], "The device 'gpu' cannot be used"),
        (["--device", "cuda:77"], "The device 'cuda:77' cannot be used"),
        (["--precision", "fp16"], "float16 needs a GPU"),
        (["--precision", "fp8"], "--precision takes one of auto"),
        (["--preset", "moon"], "--preset takes one of local"),
        (["--log-format", "xml"], "no log format 'xml'"),
        (["--log-format", "live"], "needs a terminal"),
        (["--share", "5/4"], "no share 5/4"),
        (["--share", "half"], "'half'"),
        (["--batch", "988"], "this peer sees 987 samples"),
        (["--model", "resnet50"], "digits has no setting model"),
        (["--identity", "/proc/nowhere/key"], "/proc/nowhere/key is not usable"),
        (["--config", "nowhere.toml"], "nowhere.toml cannot be read: No such file"),
    ],
)
def test_a_wrong_setting_is_named_and_leaves_nothing_behind(gossip: Command, flags: list[str], words: str) -> None:
    ended = gossip.train(*flags)
    assert ended.code == 2
    assert words in ended.err
    assert not list(Path("runs").glob("*")), "no folder of a run that never was"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[gossip]\ngossip_group_sise = 8\n", "gossip_group_sise"),
        ("[gossip]\ngossip_alpha = 7\n", "gossip_alpha"),
        ("[gosip]\ngossip_alpha = 0.5\n", "'gosip'"),
        ("[train]\nbatch = 'many'\n", "batch in [train] of settings.toml takes a whole number"),
        ("[train]\nepohcs = 3\n", "epohcs in [train] of settings.toml is not a setting. Did you mean 'epochs'?"),
        ("[network\n", "not valid TOML"),
    ],
)
def test_a_mistake_in_the_settings_file_is_named(gossip: Command, text: str, words: str) -> None:
    Path("settings.toml").write_text(text)
    ended = gossip.train("--config", "settings.toml")
    assert ended.code == 2
    assert words in ended.err


def test_flags_go_before_the_settings_file(gossip: Command) -> None:
    Path("settings.toml").write_text("[train]\nmax_steps = 3\nbatch = 10\n[gossip]\ngossip_alpha = 0.5\n")
    assert gossip.train("--alone", "--config", "settings.toml", "--batch", "20", "--out", "run").code == 0
    written = tomllib.loads(Path("run/config.toml").read_text())
    assert (written["train"]["batch"], written["train"]["max_steps"]) == (20, 3)
    assert written["gossip"]["gossip_alpha"] == 0.5


# Data.


@pytest.mark.parametrize(
    ("task", "folder", "words"),
    [
        ("cifar10", "nowhere", "no folder nowhere"),
        ("cifar10", "empty", "is not in empty"),
        ("imagenet", "empty", "train/<class>/*.JPEG"),
    ],
)
def test_data_that_are_not_there_are_asked_for(gossip: Command, task: str, folder: str, words: str) -> None:
    Path("empty").mkdir()
    ended = gossip.train("--data-dir", folder, "--alone", task=task)
    assert ended.code == 21
    assert words in ended.err


def test_an_incomplete_data_folder_is_named_with_what_is_missing(gossip: Command) -> None:
    write_folder(Path("cifar-10-batches-py"), {"data_batch_1": b"", "data_batch_2": b""})
    ended = gossip.train("--data-dir", ".", "--alone", task="cifar10")
    assert ended.code == 21
    assert "test_batch missing" in ended.err


def test_a_corrupt_data_file_is_named_before_a_byte_of_it_is_unpickled(gossip: Command) -> None:
    write_folder(Path("cifar-10-batches-py"), {"test_batch": b"cos\nsystem\n(S'touch owned'\ntR."})
    ended = gossip.train("--data-dir", ".", "--alone", task="cifar10")
    assert ended.code == 22
    assert "test_batch is not the published file" in ended.err
    assert not Path("owned").exists()


def test_photos_that_cannot_be_read_end_the_run_where_there_are_many(gossip: Command) -> None:
    write_tree(Path("photos"))
    for photo in Path("photos/train").rglob("*.JPEG"):
        photo.write_bytes(b"no photo at all")
    flags = ["--data-dir", "photos", "--image-size", "32", "--batch", "4", "--max-steps", "2", "--alone"]
    ended = gossip.train(*flags, task="imagenet")
    assert ended.code == 22
    assert ".JPEG" in ended.err
    assert "more than 10 are too many" in ended.err


def test_a_few_photos_that_cannot_be_read_are_named_and_counted(gossip: Command) -> None:
    write_tree(Path("photos"))
    photo = sorted(Path("photos/train").rglob("*.JPEG"))[0]
    photo.write_bytes(b"no photo at all")
    flags = ["--data-dir", "photos", "--image-size", "32", "--batch", "4", "--epochs", "1", "--alone", "--out", "run"]
    ended = gossip("train", "imagenet", *flags, "--log-format", "plain")
    assert ended.code == 0, ended.err
    assert f"warning: damaged files that were passed over: 1, the first: {photo}" in ended.out
    assert json.loads(Path("run/summary.json").read_text())["damaged_files"] == 1


# Checkpoints and run folders.


def test_the_end_says_where_the_run_is_and_what_can_be_done_with_it(gossip: Command) -> None:
    ended = gossip("train", "digits", "--alone", "--max-steps", "3", "--out", "my run")
    assert ended.out.splitlines()[-1].startswith(
        "saved in my run; next: gossip eval 'my run', or gossip export 'my run'"
    )
    summary = json.loads(Path("my run/summary.json").read_text())
    assert summary["saved"] is True
    assert Path(summary["saved_in"]).is_relative_to("my run")
    assert summary["task"].startswith("digits/")
    assert summary["best_accuracy"] == summary["accuracy"]


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_model_that_was_not_saved_is_said_so_with_a_code_of_its_own(
    gossip: Command, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    temporary = Path("temporary").absolute()
    if elsewhere:
        temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    original = RunFolder.follow

    def follow(folder: RunFolder, bus: EventBus) -> Callable[[], None]:
        # From then on nothing can be written there, whoever tries.
        folder.checkpoints.rmdir()
        folder.checkpoints.write_text("in the way")
        return original(folder, bus)

    monkeypatch.setattr(RunFolder, "follow", follow)
    ended = gossip.train("--alone", "--max-steps", "3", "--out", "run")
    assert ended.code == 33
    summary = json.loads(Path("run/summary.json").read_text())
    assert summary["saved"] is elsewhere
    if elsewhere:
        assert f"but in {temporary}" in ended.err
        assert load_checkpoint(Path(summary["saved_in"])).state.step == 3
    else:
        assert "THE MODEL WAS NOT SAVED" in ended.err


@pytest.mark.parametrize("flag", ["--resume", "--config"])
def test_the_task_need_not_be_said_again_and_another_one_is_refused(gossip: Command, run: Path, flag: str) -> None:
    named = run if flag == "--resume" else run / "config.toml"
    again = gossip("train", flag, named, "--alone", "--max-steps", "9", "--out", "again")
    assert again.code == 0, again.err
    ended = gossip("train", "text", flag, named, "--alone")
    assert ended.code == (32 if flag == "--resume" else 2)
    assert f"{flag} {named} is of the task digits, not of text." in ended.err


def test_files_of_a_checkpoint_are_for_those_for_whom_the_run_is(gossip: Command, run: Path) -> None:
    (checkpoint,) = list_checkpoints(run / "checkpoints")
    modes = {file.stat().st_mode for file in checkpoint.iterdir()}
    assert modes == {(run / "config.toml").stat().st_mode}


def test_a_truncated_checkpoint_is_named(gossip: Command, run: Path) -> None:
    (checkpoint,) = list_checkpoints(run / "checkpoints")
    file = checkpoint / "optimizer.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    before = everything_in(run)
    ended = gossip.train("--alone", "--resume", run)
    assert ended.code == 31
    assert str(file) in ended.err
    assert everything_in(run) == before


def test_a_checkpoint_of_another_task_is_refused_and_its_run_stays_as_it_was(gossip: Command, run: Path) -> None:
    write_tree(Path("photos"))
    before = everything_in(run)
    flags = ["--data-dir", "photos", "--image-size", "32", "--batch", "4", "--alone", "--resume", str(run)]
    ended = gossip.train(*flags, task="imagenet")
    assert ended.code == 32
    assert "is of the task digits, not of imagenet" in ended.err
    assert everything_in(run) == before


def test_there_is_nothing_to_resume_where_no_run_was(gossip: Command) -> None:
    ended = gossip.train("--alone", "--resume", "nowhere")
    assert ended.code == 30
    assert "There is no checkpoint in nowhere" in ended.err


def test_a_folder_that_holds_a_run_is_not_written_over(gossip: Command, run: Path) -> None:
    before = everything_in(run)
    ended = gossip.train("--alone", "--out", run)
    assert ended.code == 2
    assert "already holds a run" in ended.err
    assert everything_in(run) == before


def test_a_run_folder_in_use_is_refused(gossip: Command, run: Path) -> None:
    with RunFolder.create(run, "digits", resume=True):
        ended = gossip.train("--alone", "--resume", run)
    assert ended.code == 2
    assert "in use by another running peer" in ended.err


def test_after_a_failed_start_the_same_folder_can_be_used(gossip: Command) -> None:
    dead = f"/ip4/127.0.0.1/tcp/9/p2p/{PEER_ID}"
    assert gossip.train("--initial-peer", dead, "--out", "run").code == 13
    assert gossip.train("--max-steps", "3", "--alone", "--out", "run").code == 0


def test_a_resumed_run_keeps_its_settings_and_goes_on_in_its_folder(gossip: Command) -> None:
    first = ["--alone", "--batch", "20", "--lr", "0.01", "--max-steps", "5", "--out", "run"]
    assert gossip.train(*first).code == 0
    assert gossip.train("--resume", "run", "--max-steps", "9").code == 0
    assert load_checkpoint(Path("run")).state.step == 9
    written = tomllib.loads(Path("run/config.toml").read_text())["train"]
    assert (written["batch"], written["learning_rate"], written["alone"], written["max_steps"]) == (20, 0.01, True, 9)
    assert len([line for line in Path("run/metrics.jsonl").read_text().splitlines() if '"started"' in line]) == 2


# A loss that is not finite.


def test_a_loss_that_is_not_finite_ends_with_41_and_the_last_good_checkpoint(gossip: Command) -> None:
    ended = gossip.train("--alone", "--lr", "1000", "--checkpoint-every", "0.000001", "--out", "run")
    assert ended.code == 41
    assert "The loss became" in ended.err
    assert "The last good checkpoint is kept" in ended.err
    assert gossip("eval", "run").code == 0
