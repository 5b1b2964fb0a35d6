"""The flags that several commands share, and files of settings.

Owns names and help texts of those flags, and how settings are read from TOML and written to it. Does not know what the
settings do, nor which of them go before others.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gossiptrain.cli.flags import Flag
from gossiptrain.config import Settings
from gossiptrain.errors import UsageError

GOSSIP = "Rounds"
"""The group of `--help` for what is said of rounds."""
NETWORK = "Network"
"""The group for how others are found and reached."""
DATA = "Data"
"""The group for what is learnt from."""
TRAINING = "Training"
"""The group for what is said of steps."""
OUTPUT = "Output"
"""The group for what is kept and shown."""

HOST_MADDR = Flag(
    ("--host-maddr",),
    list[str],
    "Where to listen; repeatable (/ip4/0.0.0.0/tcp/0)",
    fills="network.host_maddrs",
    metavar="MADDR",
    panel=NETWORK,
)
ANNOUNCE_MADDR = Flag(
    ("--announce-maddr",),
    list[str],
    "Address to tell others, behind a forwarded port; repeatable",
    fills="network.announce_maddrs",
    metavar="MADDR",
    panel=NETWORK,
    rare=True,
)
INITIAL_PEER = Flag(
    ("--initial-peer", "--initial-peers"),
    list[str],
    "Address of a living peer; repeatable (none: be first)",
    fills="network.initial_peers",
    metavar="MADDR",
    panel=NETWORK,
)
OPEN = Flag(
    ("--open/--private",),
    bool,
    "Let in whoever knows an address, or not (private)",
    fills="network.open",
    panel=NETWORK,
)
LOCAL_NETWORK = Flag(
    ("--local-network/--no-local-network",),
    bool,
    "Be found by --join from the local network, by multicast DNS (yes)",
    fills="network.local_network",
    panel=NETWORK,
    rare=True,
)
JOIN = Flag(
    ("--join",),
    list[str],
    "Join a swarm: with a link (- reads it, @FILE too), at an address, or alone: by the local network "
    "($GOSSIPTRAIN_JOIN)",
    metavar="[LINK|MADDR]",
    panel=NETWORK,
)
IDENTITY = Flag(
    ("--identity",),
    str,
    "Private key; keeps the peer id over restarts (run folder)",
    fills="network.identity_path",
    metavar="FILE",
    panel=NETWORK,
    rare=True,
)
RELAY = Flag(
    ("--relay/--no-relay",),
    bool,
    "Be reached through other peers where nobody can dial this one, and carry for those (where it is needed)",
    fills="network.relay",
    panel=NETWORK,
    rare=True,
)
PRESET = Flag(
    ("--preset",),
    str,
    "Waits for the network (lan)",
    fills="network.preset",
    metavar="local|lan|wan",
    panel=NETWORK,
    of_recipe=True,
)
MEETING = (HOST_MADDR, ANNOUNCE_MADDR, INITIAL_PEER, IDENTITY, RELAY, PRESET)
"""What everyone who takes part in a swarm can be told."""

EVERY_STEPS = Flag(
    ("--every-steps",),
    int,
    "Inner steps between rounds (by task)",
    fills="gossip.every_steps",
    panel=GOSSIP,
    of_recipe=True,
)
GROUPING = Flag(
    ("--grouping",),
    str,
    "Who averages with whom (auto)",
    fills="gossip.grouping",
    panel=GOSSIP,
    metavar="auto|crossed|random|grid|exponential|all",
    equal_for_all=True,
    rare=True,
)
DIRECT_PORT = Flag(
    ("--direct-port", "--lane-port"),
    int,
    "TCP port for direct connections; 0: any free one (0)",
    fills="network.direct_port",
    panel=NETWORK,
    rare=True,
)
CODEC = Flag(
    ("--codec",),
    str,
    "Values on the wire (fp32)",
    fills="gossip.codec",
    panel=GOSSIP,
    metavar="fp32|fp16|bf16|int8|int4",
    of_recipe=True,
)
FIX_STATISTICS = Flag(
    ("--fix-statistics",),
    float,
    "Share of the steps after which batch normalisation goes by running statistics",
    fills="train.fix_statistics",
    panel=TRAINING,
    metavar="SHARE",
    rare=True,
    of_recipe=True,
)
DATA_DIR = Flag(
    ("--data-dir",),
    Path,
    "Where the data are ($GOSSIPTRAIN_DATA)",
    fills="train.data_dir",
    metavar="DIR",
    panel=DATA,
)
DEVICE = Flag(("--device",), str, "cpu, cuda, cuda:1, mps or auto (auto)", fills="train.device", panel=TRAINING)
REPORT = Flag(("--report",), Path, "Write the result as one JSON object.", metavar="FILE")
LOG_LEVEL = Flag(
    ("--log-level",),
    str,
    "What to say of the course of things; also info,swarm=debug (warning)",
    metavar="debug|info|warning|error",
    panel=OUTPUT,
    rare=True,
)
LOG_FORMAT = Flag(
    ("--log-format",), str, "How progress is shown", metavar="auto|live|plain|json", default="auto", panel=OUTPUT
)

SEE_HELP = "See --help for the settings and their ranges."
TABLES = ("train", "gossip", "network")
"""The tables of a settings file."""
FORMER_NAMES = {"lane": "direct", "lane_port": "direct_port"}
"""Settings by the names that older versions gave them: the `config.toml` of a run may hold them."""


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file of settings. Raises UsageError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"The settings file {path} cannot be read: {error.strerror}.") from error
    except RecursionError as error:
        raise UsageError(f"The settings file {path} is not valid TOML: it is nested too deeply.") from error
    except ValueError as error:  # TOML's own errors, letters that are none, dates and numbers that cannot be
        raise UsageError(f"The settings file {path} is not valid TOML: {error}.") from error


def read_settings(path: Path) -> dict[str, dict[str, Any]]:
    """The tables of a settings file such as a run's `config.toml`. Raises UsageError, for unknown tables too."""
    tables = read_toml(path)
    for name, table in tables.items():
        if name not in TABLES or not isinstance(table, dict):
            raise UsageError(
                f"The settings file {path} holds {name!r}, which is not one of its tables.",
                remedy=f"Settings stand in the tables {', '.join(f'[{known}]' for known in TABLES)}.",
            )
    return {name: _with_current_names(table) for name, table in tables.items()}


def read_task(tables: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The task that a file of settings is of, where it says one."""
    task = tables.get("train", {}).get("task")
    return task if isinstance(task, str) else None


def _with_current_names(table: dict[str, Any]) -> dict[str, Any]:
    return {FORMER_NAMES.get(name, name): value for name, value in table.items()}


def tables_of(**settings: Settings) -> dict[str, Any]:
    """The resolved settings as nested tables for `config.toml`."""
    return {name: part.model_dump(mode="json") for name, part in settings.items()}
