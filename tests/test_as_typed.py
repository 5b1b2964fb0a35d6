"""The commands of the README and of the pages beside the tutorials, as they are typed: by bash, in a clone with nothing
prepared. What is meant for several computers has several clones, each with a user of its own.

These are long tests: each process imports torch. What is typed here is shown quickly as well by the tests that
`test_shell_commands` names.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integrations.test_finetune import TEXT, save_base
from tests.processes import Family, Peer, free_port, wait_until
from tests.shell_commands import ENVIRONMENT, Session, clone_into, commands, program_of, wait_for

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
FINETUNE = "docs/tutorials/finetune.md"
MET = r"2 peers  [\d,]+ rounds? \(last: 2 peers"
SMALL = "--batch 4 --every-steps 3 --threads 1 --device cpu"
"""So that rounds come soon on a computer without a GPU."""


@pytest.fixture
def cifar(real_cifar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CIFAR-10 is there, as it is after the first download."""
    monkeypatch.setenv("GOSSIPTRAIN_DATA", str(real_cifar))


def session(family: Family, name: str) -> Session:
    """A computer of its own, as far as swarms can tell."""
    return Session(family, typed=True, name=name, state=family.folder / f"{name}-state")


def with_free_ports(command: str) -> str:
    """The ports of the documents may be taken here, and all computers are this one."""
    return command.replace("tcp/4011", f"tcp/{free_port()}").replace("--direct-port 4012", "--direct-port 0")


def stop(*peers: Peer) -> None:
    for peer in peers:
        peer.signal(signal.SIGINT)
        assert peer.wait() == 0, peer.err


def invited(computer: Session, command: str) -> str:
    """The link that is in what `gossip invite` prints, which works only once the peer can be joined."""
    said = computer.run(command)
    return shlex.split(said)[-1]


@pytest.mark.timeout(1800)
def test_the_first_lines_on_a_computer_that_has_nothing(tmp_path: Path) -> None:
    """Installs everything, which takes minutes; `make test` is given one file of tests."""
    probe = ["pip", "download", "--quiet", "--no-deps", "--dest", str(tmp_path), "typing-inspection"]
    if subprocess.run([sys.executable, "-m", *probe], capture_output=True, check=False, timeout=60).returncode != 0:
        pytest.skip("there is no package index to install from")
    source = repository(clone_into(tmp_path / "source"))
    script = f"""
        set -e
        {"git clone <this repository> gossiptrain".replace("<this repository>", str(source))}
        cd gossiptrain
        make setup
        make demo ARGS="--seconds 20"
        make test ARGS="tests/test_translations.py"
        make docs
        . .venv/bin/activate
        gossip --version
    """
    plain = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    ended = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=plain, capture_output=True, text=True, timeout=1780, check=False
    )
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    assert "The swarm did what it should" in ended.stdout
    assert ended.stdout.splitlines()[-1].startswith("gossip ")
    assert (tmp_path / "gossiptrain" / "site" / "index.html").is_file()


@pytest.mark.usefixtures("cifar")
def test_two_laptops(family: Family) -> None:
    laptop, other = session(family, "laptop"), session(family, "other")
    first = laptop.type(
        with_free_ports(
            "gossip train cifar10 --model tiny --host-maddr /ip4/0.0.0.0/tcp/4011 --direct-port 4012 --out runs/laptop"
        ),
        added=SMALL,
    )
    wait_for(first, "Others join with:")
    link = invited(laptop, "gossip invite")
    second = other.type("gossip train cifar10 --model tiny --join '<LINK>'", added=SMALL, LINK=link)
    wait_for(second, "took the parameters of step ")
    for peer in (first, second):
        wait_for(peer, MET)
    stop(first)
    again = laptop.type("gossip train cifar10 --resume runs/laptop")
    wait_for(again, MET)
    stop(again, second)
    assert "accuracy" in laptop.run("gossip eval runs/laptop")
    laptop.run("gossip export runs/laptop --to model.safetensors")


@pytest.mark.usefixtures("cifar")
def test_the_tutorial_of_two_computers(family: Family) -> None:
    here, there = session(family, "here"), session(family, "there")
    first = here.type(
        with_free_ports(
            "gossip train cifar10 --model tiny --host-maddr /ip4/0.0.0.0/tcp/4011 --direct-port 4012 --out runs/first"
        ),
        added=SMALL,
    )
    address = wait_for(first, r"this computer .* (/ip4/\S+)$")
    assert wait_for(first, r"this network   a link: (.*)$") in ("gossip invite --run cifar10",)
    link = invited(here, "gossip invite")
    joining = "gossip train cifar10 --model tiny --join '<LINK>' --out runs/second"
    second = there.type(joining, added=SMALL, LINK=link)
    wait_for(second, MET)
    place = address.partition("/p2p/")
    asked = "gossip doctor /ip4/192.168.1.20/tcp/4011/p2p/<PEER_ID>".replace("/ip4/192.168.1.20/tcp/4011", place[0])
    doctor = there.type(asked, PEER_ID=place[2])
    doctor.wait()
    assert "answers" in doctor.out, doctor.out
    assert re.search(r"[0-9a-f]{12}", here.run("gossip revoke"))
    stop(second, first)
    again = here.type("gossip train cifar10 --resume runs/first")
    wait_for(again, r"^step ")
    stop(again)


@pytest.mark.usefixtures("cifar")
def test_an_open_swarm_on_one_network(family: Family) -> None:
    here, there = session(family, "here"), session(family, "there")
    first = here.type("gossip train cifar10 --model tiny --open", added=SMALL)
    wait_for(first, "Others join with:")
    second = there.type("gossip train cifar10 --model tiny --open --join", added=SMALL)
    wait_for(second, MET)
    stop(second, first)


@pytest.mark.usefixtures("cifar")
def test_the_three_scripts(family: Family) -> None:
    computer = session(family, "computer")
    tiny = f"{SMALL} --model tiny"
    first = computer.type(
        with_free_ports("python src/trainGossipCifar.py --host_maddr /ip4/0.0.0.0/tcp/4011"), added=tiny
    )
    address = wait_for(first, r"this computer .* (/ip4/127\S+)$")
    joining = (
        "python src/trainGossipCifar.py --initial_peer /ip4/127.0.0.1/tcp/4011/p2p/<PEER_ID> "
        "--host_maddr /ip4/0.0.0.0/tcp/4012"
    )
    joining = joining.replace("/ip4/127.0.0.1/tcp/4011/p2p/<PEER_ID>", address).replace("4012", str(free_port()))
    second = computer.type(joining, added=tiny)
    wait_for(second, MET)
    stop(second, first)
    settings = "--gossip_group_size 8 --gossip_min_group_size 3 --gossip_alpha 0.9 --batch 64 --epochs 20"
    alone = with_free_ports(f"python src/trainGossipCifar.py --host_maddr /ip4/0.0.0.0/tcp/4011 {settings}")
    assert "all steps are done" in computer.run(alone, added=f"{tiny} --max-steps 2")


SSH = """#!/bin/bash
# Another machine is another folder and another user of this one.
host=$HOSTS/$1; shift
mkdir -p "$host"; cd "$host"
export HOME="$host" XDG_STATE_HOME="$host/state" PYTHONPATH="$host/gossiptrain/src"
exec bash -c "$*"
"""
SCP = """#!/bin/bash
cp "$2" "$HOSTS/${3/://}"
"""


class Machines:
    """The machines `gpu1` and so on, reached by stand-ins for ssh and scp, and the computer at which one types."""

    def __init__(self, family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
        self.family, self.folder = family, family.folder
        programs = self.folder / "bin"
        programs.mkdir()
        for name, text in (("ssh", SSH), ("scp", SCP)):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        monkeypatch.setenv("HOSTS", str(self.folder / "hosts"))
        self.source = repository(clone_into(self.folder / "source"))

    def log(self, number: int) -> str:
        """What a peer has said."""
        path = self.folder / "hosts" / f"gpu{number}" / "gossiptrain" / "lab.log"
        return path.read_text() if path.exists() else ""

    def type(self, command: str) -> str:
        """Runs a command to its end, with the repository's place, for all of whom this computer is one."""
        command = command.replace("<this repository>", str(self.source))
        command = command.replace("make -C gossiptrain setup", f"ln -s {ENVIRONMENT} gossiptrain/.venv")
        command = command.replace("tcp/4011", "tcp/0").replace("--direct-port 4012", "--direct-port 0")
        command = command.replace("cifar10 --share", f"cifar10 --model tiny {SMALL} --share")
        peer = self.family.start("-c", command, program=["bash"])  # what is invited goes to a file
        assert peer.wait() == 0, peer.err
        return peer.out

    def wait_for(self, number: int, pattern: str) -> None:
        wait_until(lambda: re.search(pattern, self.log(number)) is not None, f"{pattern!r} of gpu{number}")

    def wait_for_the_end(self) -> None:
        wait_until(lambda: not self.family.members(), "all have saved and ended")


def repository(folder: Path) -> Path:
    """Makes a folder one that can be cloned."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(folder)]
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "all"]):
        subprocess.run([*git, *words], check=True)
    return folder


@pytest.mark.usefixtures("cifar")
@pytest.mark.parametrize(("document", "count"), [("README.md", 6), ("docs/how-to/lab.md", 3)])
def test_machines_over_ssh(document: str, count: int, family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    machines = Machines(family, monkeypatch)
    lines = [line for line in commands(document) if " gpu" in line]
    if "git clone" not in lines[0]:
        lines.insert(0, next(line for line in commands("README.md") if "git clone -q" in line))
    install, first, invite, *others, look, end = lines[:7]
    machines.type(install)
    machines.type(first)
    machines.wait_for(1, "Others join with:")
    machines.type(invite)
    for line in others:
        machines.type(line)
    for number in range(1, count + 1):
        machines.wait_for(number, rf"{count} peers  \d+ rounds?")
    assert "step" in machines.type(look)
    machines.type(end)
    machines.wait_for_the_end()
    for line in lines[7:]:
        machines.type(line)
        for number in range(1, count + 1):
            machines.wait_for(number, rf"{count} peers  \d+ rounds?")
        machines.type(end)
        machines.wait_for_the_end()
    for number in range(1, count + 1):
        assert "finished, stopped on request" in machines.log(number)


@pytest.mark.usefixtures("cifar")
def test_at_home_with_a_helper(family: Family) -> None:
    server, home, friend = (session(family, name) for name in ("server", "home", "friend"))
    helper = server.type(
        "gossip bootstrap --host-maddr /ip4/0.0.0.0/tcp/4001 --identity helper.key".replace("4001", str(free_port()))
    )
    address = wait_for(helper, r"this computer +(/ip4/127\S+)$")
    settings = "--model tiny --preset wan --codec int8 --every-seconds 60 --initial-peer <HELPER_ADDRESS>"
    often = f"{SMALL} --every-seconds 2"
    first = home.type(f"gossip train cifar10 {settings} --out runs/home", added=often, HELPER_ADDRESS=address)
    wait_for(first, "Others join with:")
    link = invited(home, "gossip invite --expires 7d")
    second = friend.type(
        f"gossip train cifar10 {settings} --join '<LINK>'", added=often, HELPER_ADDRESS=address, LINK=link
    )
    for peer in (first, second):
        wait_for(peer, MET)
    doctor = friend.type("gossip doctor <HELPER_ADDRESS>", HELPER_ADDRESS=address)
    doctor.wait()
    assert "helper" in doctor.out, doctor.out
    stop(second, first, helper)


@pytest.mark.usefixtures("cifar")
def test_at_home_with_a_forwarded_port(family: Family) -> None:
    line = (
        "gossip train cifar10 --model tiny --preset wan --host-maddr /ip4/0.0.0.0/tcp/4011 "
        "--announce-maddr /ip4/203.0.113.7/tcp/4011 --direct-port 4012"
    )
    # Addresses that are kept for documents count as nobody's.
    line = with_free_ports(line).replace("203.0.113.7", "45.10.88.7")
    peer = session(family, "home").type(line, added=SMALL)
    wait_for(peer, r"the internet +a link: gossip invite")
    wait_for(peer, "^step ")
    stop(peer)


def test_the_example_of_an_own_loop(family: Family) -> None:
    computer = session(family, "computer")
    first = computer.type("python examples/own_loop.py")
    address = wait_for(first, r"^address (/ip4/127\S+)$")
    second = computer.type("python examples/own_loop.py <ADDRESS>", ADDRESS=address)
    assert [peer.wait() for peer in (first, second)] == [0, 0]
    assert wait_for(first, r"^digest (\w+)$") == wait_for(second, r"^digest (\w+)$")


def test_a_program_of_ones_own(family: Family) -> None:
    computer = session(family, "computer")
    (computer.folder / "my_loop.py").write_text(program_of("docs/tutorials/your-model.md"))
    first = computer.type("python my_loop.py")
    address = wait_for(first, r"^address (\S+)$")
    assert "gossip://join/" in computer.run("gossip invite --run spirals")
    second = computer.type("python my_loop.py <ADDRESS>", ADDRESS=address)
    assert [peer.wait() for peer in (first, second)] == [0, 0]
    for peer in (first, second):
        assert float(wait_for(peer, r"rounds, accuracy ([\d.]+)%")) > 90
    sums = [line.split()[0] for line in computer.run("sha256sum spirals-*.safetensors").splitlines()]
    assert len(sums) == 2
    assert len(set(sums)) == 1


def test_fine_tuning(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a model that has the published one's name and nothing of its size."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    here, there = session(family, "here"), session(family, "there")
    published = "HuggingFaceTB/SmolLM2-135M"
    for computer in (here, there):
        save_base(computer.folder / published)
        for name in ("mine.txt", "yours.txt"):
            (computer.folder / name).write_text(TEXT)
    small = "--tokens 16 --batch 2 --every-steps 5 --rounds 6"
    train = f"python examples/finetune/train.py --model {published} --text"

    def ended(*peers: Peer) -> None:
        assert [peer.wait() for peer in peers] == [0, 0], peers[1].err
        assert wait_for(peers[0], r"^digest (\w+)$") == wait_for(peers[1], r"^digest (\w+)$")
        assert "of 2 peers, " in peers[0].out

    first = here.type(f"{train} mine.txt", added=small)
    address = wait_for(first, r"^address (/ip4/127\S+)$")
    second = here.type(f"{train} yours.txt --out adapters-2 <ADDRESS>", added=small, ADDRESS=address)
    ended(first, second)

    first = here.type(f"{train} mine.txt", added=small)
    wait_for(first, r"^address ")
    link = re.search(r"gossip://join/[^\s']+", here.run("gossip invite --run finetune"))
    assert link is not None
    ended(first, there.type(f"{train} yours.txt --join '<LINK>'", added=small, LINK=link[0]))

    (here.folder / "result.py").write_text(program_of(FINETUNE))
    assert "Once upon a time" in here.run("python result.py")
