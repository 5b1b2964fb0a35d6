"""Container files, the unit, the batch script and the notebook: what they run is what there is.

No container engine, systemd or Slurm is needed here: their files are read as they read them, and the commands in them
are parsed, and in `make test-long` run, by the real program.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from packaging.specifiers import SpecifierSet

from gossiptrain import events
from gossiptrain.cli.joining import with_places
from gossiptrain.cli.main import app, with_hyphens
from gossiptrain.errors import GossipError
from tests.processes import Family, Peer, wait_until

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def parsed(arguments: list[str]) -> dict[str, Any]:
    """What `gossip` makes of a command line; whatever it would refuse raises here."""
    command: Any = typer.main.get_command(app)
    rest = with_places(with_hyphens(arguments))
    while rest and rest[0] in getattr(command, "commands", {}):
        command, rest = command.commands[rest[0]], rest[1:]
    with command.make_context("gossip", list(rest)) as context:
        return dict(context.params)


def commands_in(script: str) -> list[list[str]]:
    """The calls of `gossip` in a shell script, without what the shell does with them."""
    found = re.findall(r"\bgossip ((?:train|invite|demo)[^|&<>};\n]*)", script)
    return [shlex.split(call) for call in found]


def test_a_command_that_is_no_command_would_be_found() -> None:
    with pytest.raises(Exception, match="--shar"):
        parsed(["train", "digits", "--shar", "1/2"])


# Containers.


def test_the_commands_of_the_compose_file_are_commands() -> None:
    services = COMPOSE["services"]
    told = {name: parsed(shlex.split(service["command"])) for name, service in services.items()}
    assert len(told) == 3
    assert {each["share"] for each in told.values()} == {"1/3", "2/3", "3/3"}
    assert {each["task"] for each in told.values()} == {"digits"}
    (invite,) = commands_in(services["first"]["healthcheck"]["test"])
    assert parsed(invite)["run"] == told["first"]["run"]


def test_all_but_the_first_wait_for_the_link_and_find_it_where_it_is_put() -> None:
    services = COMPOSE["services"]
    (link,) = re.findall(r"test -s (\S+)", services["first"]["healthcheck"]["test"])
    for name in ("second", "third"):
        assert services[name]["depends_on"] == {"first": {"condition": "service_healthy"}}
        assert parsed(shlex.split(services[name]["command"]))["join"] == [f"@{link}"]
    for service in services.values():
        assert f"link:{Path(link).parent}" in service["volumes"]
        assert {volume.partition(":")[0] for volume in service["volumes"]} <= set(COMPOSE["volumes"])
        assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()


def test_the_ports_that_are_opened_are_those_at_which_the_first_peer_listens() -> None:
    first = COMPOSE["services"]["first"]
    told = parsed(shlex.split(first["command"]))
    listens = {told["host_maddr"][0].rpartition("/")[2], str(told["direct_port"])}
    assert {port.partition(":")[2] for port in first["ports"]} == listens
    assert set(re.search(r"^EXPOSE (.*)$", DOCKERFILE, re.MULTILINE)[1].split()) == listens  # type: ignore[index]


def test_the_image_is_built_of_what_there_is() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8")
    for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        for source in line.split():
            assert (ROOT / source).exists(), source
            assert f"!{source}" in ignored, f"{source} does not reach the engine"
    (torch,) = re.findall(r'^ARG TORCH="(.*)"$', DOCKERFILE, re.MULTILINE)
    assert torch in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    (extras,) = re.findall(r"install --no-cache-dir '\.\[(.*)\]'", DOCKERFILE)
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    bases = re.findall(r"^FROM python:([\d.]+)-slim", DOCKERFILE, re.MULTILINE)
    assert len(bases) == 2
    assert all(base in SpecifierSet(PROJECT["requires-python"]) for base in bases)
    (command,) = re.findall(r"^CMD (.*)$", DOCKERFILE, re.MULTILINE)
    parsed(json.loads(command))


# systemd.


def unit() -> configparser.ConfigParser:
    lines = re.sub(r"\\\n\s*", " ", (DEPLOY / "gossip-peer.service").read_text(encoding="utf-8"))
    # The last of several lines of one name is enough here; they are compared one by one below.
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(lines)
    return parser


@pytest.mark.parametrize("link", [True, False])
@pytest.mark.parametrize("resumed", [True, False])
def test_the_unit_starts_a_peer_or_goes_on_with_its_run(tmp_path: Path, link: bool, resumed: bool) -> None:
    told = re.findall(r'^Environment="GOSSIP_TRAIN=(.*)"$', (DEPLOY / "gossip-peer.service").read_text(), re.MULTILINE)
    shell, option, script = shlex.split(unit()["Service"]["ExecStart"].replace("$$", "$"))
    program = "/opt/gossip/bin/gossip"
    assert f"exec {program} " in script
    (tmp_path / "link").write_text("gossip://join/..." if link else "none")
    if resumed:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "config.toml").touch()
    environment = {**os.environ, "GOSSIP_TRAIN": told[0], "CREDENTIALS_DIRECTORY": str(tmp_path)}
    words = [shell, option, script.replace(program, "printf '%s\\n'")]
    said = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    values = parsed(said.stdout.splitlines())
    assert values["resume"] == (Path("run") if resumed else None)
    assert values["out"] == (None if resumed else Path("run"))
    assert list(values["join"]) == ([f"@{tmp_path}/link"] if link and not resumed else [])


def test_the_unit_is_not_started_again_where_that_helps_nothing() -> None:
    known = {kind.exit_code for kind in _with_children(GossipError)}
    codes = {int(code) for code in unit()["Service"]["RestartPreventExitStatus"].split()}
    assert codes <= known
    assert not codes & {1, 12, 13, 16, 33, 40}, "those may be better a little later"


def _with_children(kind: type[GossipError]) -> list[type[GossipError]]:
    return [kind, *(each for child in kind.__subclasses__() for each in _with_children(child))]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_unit() -> None:
    checked = subprocess.run(
        ["systemd-analyze", "verify", DEPLOY / "gossip-peer.service"], capture_output=True, text=True, check=False
    )
    assert "gossip-peer.service" not in checked.stderr, checked.stderr


# Slurm.


def test_the_batch_script_is_one_and_its_commands_are_commands() -> None:
    script = (DEPLOY / "slurm.sh").read_text(encoding="utf-8")
    subprocess.run(["bash", "-n", DEPLOY / "slurm.sh"], check=True)
    assert os.access(DEPLOY / "slurm.sh", os.X_OK)
    (example,) = re.findall(r"^#     sbatch deploy/slurm.sh (.*)$", script, re.MULTILINE)
    parsed([*shlex.split(example), "--share", "1/6", "--out", "x", "--log-format", "plain", "--run", "x"])
    (invite,) = (call for call in commands_in(script) if call[0] == "invite")
    parsed([word.replace("$SLURM_NTASKS", "6") for word in invite])


SRUN = """#!/bin/bash
# Runs the command once for each task, at the same time, and ends as the worst of them.
while [[ "$1" == --* ]]; do shift; done
worst=0
for ((task = 0; task < SLURM_NTASKS; task++)); do SLURM_PROCID=$task "$@" & pids+=($!); done
for pid in "${pids[@]}"; do wait "$pid" || worst=$?; done
exit "$worst"
"""


@pytest.mark.long
def test_the_batch_script_brings_its_peers_together(family: Family) -> None:
    programs = family.folder / "bin"
    programs.mkdir()
    (programs / "srun").write_text(SRUN)
    (programs / "srun").chmod(0o755)
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"PATH": path, "SLURM_NTASKS": "2", "SLURM_JOB_ID": "7"}
    flags = ["train", "digits", "--max-seconds", "8", "--wait-for", "2", "--threads", "1"]
    job = family.start(*flags, program=["bash", str(DEPLOY / "slurm.sh")], environment=environment)
    assert job.wait() == 0, job.err
    summaries = [json.loads(path.read_text()) for path in family.folder.glob("gossip-7/peer-*/summary.json")]
    assert len(summaries) == 2, job.out
    assert all(each["rounds"] >= 1 and each["run"] == "job-7" for each in summaries)


# Containers again: the same commands, each with a folder for state of its own, as containers have.


@pytest.mark.long
def test_the_peers_of_the_compose_file_meet_with_the_link_of_the_health_check(family: Family, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    services = COMPOSE["services"]

    def started(name: str) -> Peer:
        words = services[name]["command"].replace("/shared/", f"{shared}/").replace("tcp/4011", "tcp/0")
        arguments = [*shlex.split(words.replace("--direct-port 4012", "")), "--threads", "1"]
        environment = {"XDG_STATE_HOME": str(tmp_path / name)}
        return family.start(*arguments, "--log-format", "json", environment=environment)

    first = started("first")
    check = services["first"]["healthcheck"]["test"].replace("/shared/", f"{shared}/")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "first"), "PATH": path}
    healthy = ["sh", "-c", check]
    wait_until(
        lambda: subprocess.run(healthy, env=environment, capture_output=True, check=False).returncode == 0,
        f"the health check; the first peer says {first.err!r}",
    )
    others = [started("second"), started("third")]
    for peer in (first, *others):
        peer.wait_for(events.RoundCommitted)
    assert len({peer.wait_for(events.Started).run for peer in (first, *others)}) == 1


# The notebook.


def notebook() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((ROOT / "examples" / "notebook.ipynb").read_text(encoding="utf-8"))
    return content


def test_the_notebook_is_one_that_was_not_run_yet() -> None:
    content = notebook()
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in content["cells"]}) == len(content["cells"])
    for cell in content["cells"]:
        assert cell["cell_type"] in ("code", "markdown")
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            compile("".join(cell["source"]), cell["id"], "exec")


@pytest.mark.long
def test_the_cells_of_the_notebook_run_from_first_to_last(family: Family) -> None:
    cells = ["".join(cell["source"]) for cell in notebook()["cells"] if cell["cell_type"] == "code"]
    (family.folder / "cells.py").write_text("\n\n".join(cells), encoding="utf-8")
    run = family.start("cells.py", program=[sys.executable])
    assert run.wait() == 0, run.err
    assert run.out.splitlines()[-1] == "the same model"
