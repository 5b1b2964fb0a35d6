"""The commands with which others join a peer.

Owns what is printed for the same computer, the same network and the internet, and what of the own settings others have
to be given. Does not know how peers connect.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from gossiptrain.cli.recipe import RECIPE_FLAGS
from gossiptrain.config import Settings
from gossiptrain.events import Started
from gossiptrain.net.addresses import join_addresses


def own_program() -> list[str]:
    """How this program was called, so that what is printed can be typed in the same place."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return ["python", "-m", called.parent.name]
    if called.suffix == ".py":
        return ["python", sys.argv[0]]
    if called.is_file() and shutil.which(called.name) is None and called.absolute().is_relative_to(Path.cwd()):
        return [str(called.absolute().relative_to(Path.cwd()))]
    return ["gossip"]


def command_of(settings: Mapping[str, Settings], *, task: str, usual: Mapping[str, Any]) -> list[str]:
    """How another peer of the same run is started: with all that must be equal, and the rest of the recipe.

    settings: what this peer was given, by the name of the table. usual: by what flags fill, such as `train.batch`, what
    holds for the task where nothing is said.
    """
    train = settings["train"].model_dump()
    is_script = Path(sys.argv[0]).name.startswith("trainGossip")
    command = own_program() if is_script else [*own_program(), "train", task]
    if train["run"] is not None:
        command += ["--run", train["run"]]
    for name, value in train["variant"].items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    for flag in RECIPE_FLAGS:
        kind = type(settings[flag.table])
        value = getattr(settings[flag.table], flag.field)
        if value not in (None, usual.get(flag.fills, kind.model_fields[flag.field].default)):
            command += [flag.spelling, f"{value:.12g}" if isinstance(value, float) else str(value)]
    return command


Kind = Literal["open", "founded", "invited"]
"""Of the swarm: for everybody, private and founded by this user, or private and by somebody else."""


def join_text(
    started: Started,
    *,
    command: Sequence[str],
    kind: Kind = "open",
    announced: bool = False,
    listens: Sequence[str] = (),
) -> str:
    """Ready-to-paste commands, or why there is none. `command`: how this peer's own training was started.

    announced: whether others find it on its network with no address. listens: where it can be dialled as well, although
    it tells others only what it was told to announce.
    """
    if kind == "invited":
        return "The swarm is private: others join with a link that whoever has founded it makes with `gossip invite`."
    places = join_addresses([*started.addresses, *(f"{place}/p2p/{started.peer_id}" for place in listens)])
    lines = ["Others join with:"]
    lines += _line("this computer", places.this_computer, command) or []
    invite = None
    if kind == "founded":
        invite = shlex.join([*_program(command), "invite", "--run", started.run])
    announced = announced and kind == "open" and bool(places.this_network or places.internet)
    if announced:
        lines.append(f"  {'this network':<14} {shlex.join([*command, '--join'])}")
    lines += _line("by its address" if announced else "this network", places.this_network, command, invite) or [
        "  this network   not possible: this peer listens on no network address; "
        "start it with --host-maddr /ip4/0.0.0.0/tcp/0"
    ]
    lines += _line("the internet", places.internet, command, invite) or [
        "  the internet   not possible yet: no public address is known; forward a port to this computer and start",
        "                 with --host-maddr /ip4/0.0.0.0/tcp/4011 --announce-maddr /ip4/YOUR_PUBLIC_IP/tcp/4011,",
        "                 or join through a peer that has a public address, both of you: gossip bootstrap is one",
    ]
    return "\n".join(lines)


def join_command(address: str, command: Sequence[str]) -> str:
    """The command with which another peer joins at `address`."""
    return shlex.join([*command, "--initial-peer", address])


def _line(place: str, addresses: Sequence[str], command: Sequence[str], invite: str | None = None) -> list[str]:
    """invite: the command that prints a link, where an address is not enough."""
    if not addresses:
        return []
    return [f"  {place:<14} {join_command(addresses[0], command) if invite is None else f'a link: {invite}'}"]


def _program(command: Sequence[str]) -> list[str]:
    """How `gossip` itself is called where a training was started by `command`."""
    if command[:2] == ["python", "-m"]:
        return list(command[:3])
    return [".venv/bin/gossip"] if command[:1] == ["python"] else [command[0]]
