"""Faults of this computer, planted for real: the doctor names each."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from gossiptrain.net.identity import Identity
from gossiptrain.net.libp2p.hivemind_parts import daemon_program
from gossiptrain.training.tasks.cifar_files import CHECKSUMS, FOLDER
from tests.doctor.stage import Fault, Stage, each_of, environment_path


def busy_port(stage: Stage) -> Sequence[str]:
    return ["--host-maddr", f"/ip4/127.0.0.1/tcp/{stage.listening()}"]


def name_to_listen_at(stage: Stage) -> Sequence[str]:
    return ["--host-maddr", "/dns4/example.org/tcp/4011"]


def address_of_another_computer(stage: Stage) -> Sequence[str]:
    return ["--host-maddr", "/ip4/198.51.100.7/tcp/0"]


def full_disk(stage: Stage) -> Sequence[str]:
    disk = stage.folder / "disk"
    disk.mkdir()
    stage.without_torch()
    stage.with_mounts(
        f"mount -t tmpfs -o size=64k none {disk}", f"dd if=/dev/zero of={disk}/full bs=64k count=1 2>/dev/null"
    )
    return ["--out", str(disk / "run")]


def read_only_disk(stage: Stage) -> Sequence[str]:
    disk = stage.folder / "disk"
    disk.mkdir()
    stage.without_torch()
    stage.with_mounts(f"mount -t tmpfs -o ro none {disk}")
    return ["--out", str(disk / "run")]


def unreadable_run_folder(stage: Stage) -> Sequence[str]:
    folder = stage.folder / "run"
    folder.mkdir(mode=0o755)
    (folder / "config.toml").touch(mode=0o600)
    stage.as_nobody()
    return ["--out", str(folder)]


def identity_in_a_foreign_folder(stage: Stage) -> Sequence[str]:
    (stage.folder / "keys").mkdir(mode=0o755)
    stage.as_nobody()
    return ["--identity", str(stage.folder / "keys" / "own.key")]


def identity_that_is_none(stage: Stage) -> Sequence[str]:
    (stage.folder / "own.key").write_bytes(b"nothing of the kind")
    return ["--identity", str(stage.folder / "own.key")]


def identity_of_a_living_peer(stage: Stage) -> Sequence[str]:
    stage.undo.enter_context(Identity.load_or_create(stage.folder / "own.key"))
    return ["--identity", str(stage.folder / "own.key")]


def identity_that_all_may_read(stage: Stage) -> Sequence[str]:
    Identity.load_or_create(stage.folder / "own.key").close()
    (stage.folder / "own.key").chmod(0o644)
    return ["--identity", str(stage.folder / "own.key")]


def broken_data(stage: Stage) -> Sequence[str]:
    folder = stage.folder / FOLDER
    folder.mkdir()
    for name in [name for names in CHECKSUMS.values() for name in names]:
        (folder / name).write_bytes(b"cut short")
    return ["--data-dir", str(stage.folder)]


def incomplete_data(stage: Stage) -> Sequence[str]:
    (stage.folder / FOLDER).mkdir()
    return ["--data-dir", str(stage.folder)]


def no_data(stage: Stage) -> Sequence[str]:
    return ["--task", "text"]


def torch_without_a_library(stage: Stage) -> Sequence[str]:
    (stage.folder / "torch").mkdir()
    code = "import ctypes\nctypes.CDLL('libcudart.so.99')\n"
    (stage.folder / "torch" / "__init__.py").write_text(code)
    stage.environment["PYTHONPATH"] = environment_path(stage.folder)
    return []


def torch_that_crashes(stage: Stage) -> Sequence[str]:
    (stage.folder / "torch").mkdir()
    (stage.folder / "torch" / "__init__.py").write_text("import os\nos.abort()\n")
    stage.environment["PYTHONPATH"] = environment_path(stage.folder)
    return []


def foreign_gpu(stage: Stage) -> Sequence[str]:
    return ["--device", "cuda"]


def hivemind_without(stage: Stage) -> Path:
    """A copy of the package hivemind, made of links, that comes before the installed one. Where its daemon was."""
    installed = daemon_program().parents[1]
    copy = stage.folder / "hivemind"
    shutil.copytree(installed, copy, copy_function=os.symlink, ignore=shutil.ignore_patterns("p2pd", "__pycache__"))
    stage.environment["PYTHONPATH"] = environment_path(stage.folder)
    return copy / "hivemind_cli" / "p2pd"


def no_daemon(stage: Stage) -> Sequence[str]:
    hivemind_without(stage)
    return []


def daemon_that_may_not_run(stage: Stage) -> Sequence[str]:
    hivemind_without(stage).touch(mode=0o644)
    return []


def daemon_of_another_kind_of_computer(stage: Stage) -> Sequence[str]:
    program = hivemind_without(stage)
    program.write_bytes(b"\x7fELF of another processor")
    program.chmod(0o755)
    return []


def broken_hivemind(stage: Stage) -> Sequence[str]:
    hivemind_without(stage).touch(mode=0o755)
    (stage.folder / "hivemind" / "p2p" / "__init__.py").unlink()
    (stage.folder / "hivemind" / "p2p" / "__init__.py").write_text("import no_such_module\n")
    return []


def little_memory(stage: Stage) -> Sequence[str]:
    stage.prefix = ("prlimit", f"--as={6 << 30}")
    return []


def few_open_files(stage: Stage) -> Sequence[str]:
    stage.prefix = ("prlimit", "--nofile=256")
    return []


def clock_of_long_ago(stage: Stage) -> Sequence[str]:
    (stage.folder / "sitecustomize.py").write_text("import time\ntime.time = lambda: 86400.0\n")
    stage.environment["PYTHONPATH"] = environment_path(stage.folder)
    return []


FAULTS = [
    Fault("busy port", busy_port, "ports", ("is in use", "(process ", "choose another port")),
    Fault("a name to listen at", name_to_listen_at, "ports", ("listens on an IP address, not on a name",)),
    Fault("another computer's address", address_of_another_computer, "ports", ("No network interface",)),
    Fault("full disk", full_disk, "disk: runs", ("Nothing can be written", "The disk is full", "Make room")),
    Fault("read-only disk", read_only_disk, "disk: runs", ("may only be read", "on another one")),
    Fault("unreadable run folder", unreadable_run_folder, "run folder", ("config.toml cannot be read", "chown")),
    Fault(
        "no write permission for the identity",
        identity_in_a_foreign_folder,
        "identity",
        ("cannot be made", "may not write there", "a folder of your own"),
    ),
    Fault(
        "identity that is none", identity_that_is_none, "identity", ("is not usable", "does not hold an Ed25519 key")
    ),
    Fault("identity of a living peer", identity_of_a_living_peer, "identity", ("in use by another live peer",)),
    Fault("open identity", identity_that_all_may_read, "identity", ("may read", "chmod 600"), verdict="warning"),
    Fault("broken data", broken_data, "data: cifar10", ("is not the published file", "cut short", "Unpack")),
    Fault("incomplete data", incomplete_data, "data: cifar10", ("is incomplete", "data_batch_1", "Unpack")),
    Fault("no data", no_data, "data: text", ("There is no text to learn from", "--data-dir")),
    Fault("missing GPU library", torch_without_a_library, "torch", ("libcudart.so.99", "Install torch again")),
    Fault("torch that crashes", torch_that_crashes, "torch", ("ends without a word", "Install torch again")),
    Fault("a GPU that is not there", foreign_gpu, "torch", ("--device cuda was asked for", "Leave --device out")),
    Fault("no p2pd", no_daemon, "daemon", ("p2pd is missing", "There is no file", "Reinstall the package hivemind")),
    Fault("p2pd without permission", daemon_that_may_not_run, "daemon", ("may not be run", "is not executable")),
    Fault("p2pd of another processor", daemon_of_another_kind_of_computer, "daemon", ("cannot be started",)),
    Fault("broken hivemind", broken_hivemind, "daemon", ("cannot be loaded", "no_such_module")),
    Fault("too little memory", little_memory, "memory", ("may reserve only", "ulimit -v unlimited")),
    Fault("few open files", few_open_files, "memory", ("only 256 files", "ulimit -n 4096"), verdict="warning"),
    Fault("clock of long ago", clock_of_long_ago, "clock", ("1970-01-02", "timedatectl set-ntp true")),
]


@each_of(
    FAULTS,
    short=[
        "busy port",
        "full disk",
        "identity of a living peer",
        "broken data",
        "missing GPU library",
        "no p2pd",
        "too little memory",
    ],
)
def test_the_doctor_names_it(fault: Fault, stage: Stage) -> None:
    fault.check(stage)


def test_a_computer_that_is_as_it_should_be_has_no_faults(stage: Stage) -> None:
    found = stage.ask("--host-maddr", "/ip4/127.0.0.1/tcp/0", "--identity", stage.folder / "own.key")
    assert [finding for finding in found.findings if finding.verdict == "fault"] == []
    assert found.code == 0
    assert not (stage.folder / "own.key").exists()
    assert not (stage.folder / "runs").exists()
    assert stage.family.left_folders() == []
