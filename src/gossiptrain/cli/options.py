"""The flags that several commands share, and files of settings.

Owns names and help texts of those flags, and how settings are read from TOML and written to it. Does not know what the
settings do, nor which of them go before others.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from gossiptrain.cli.flags import Flag
from gossiptrain.config import Settings
from gossiptrain.errors import UsageError

GOSSIP = "Gossip"
"""The panel of `--help` for what is said of rounds."""

HOST_MADDR = Flag(
    ("--host-maddr",),
    list[str],
    "Where to listen. Repeatable (/ip4/0.0.0.0/tcp/0: any port)",
    fills="network.host_maddrs",
    metavar="MADDR",
)
ANNOUNCE_MADDR = Flag(
    ("--announce-maddr",),
    list[str],
    "Address to tell others, behind a forwarded port.",
    fills="network.announce_maddrs",
    metavar="MADDR",
)
INITIAL_PEER = Flag(
    ("--initial-peer", "--initial-peers"),
    list[str],
    "Address, with /p2p/ID, of any living peer of the swarm. Repeatable (none: be the first)",
    fills="network.initial_peers",
    metavar="MADDR",
)
OPEN = Flag(
    ("--open/--private",),
    bool,
    "Whether everybody who knows an address may take part; the same for all (private)",
    fills="network.open",
)
LOCAL_NETWORK = Flag(
    ("--local-network/--no-local-network",),
    bool,
    "Be found by --join from the local network, by multicast DNS (yes)",
    fills="network.local_network",
)
JOIN = Flag(
    ("--join",),
    list[str],
    "Join a swarm: with a link of `gossip invite` (- reads it from standard input, @FILE from a file, which no other "
    "user of this computer sees; $GOSSIPTRAIN_JOIN), at an address, as --initial-peer, or, alone, one of the local "
    "network.",
    metavar="[LINK|MADDR]",
)
IDENTITY = Flag(
    ("--identity",),
    str,
    "Private key; keeps the peer id over restarts (run folder)",
    fills="network.identity_path",
    metavar="FILE",
)
RELAY = Flag(
    ("--relay/--no-relay",),
    bool,
    "Be reached through other peers where nobody can dial this one, and carry for those (where it is needed)",
    fills="network.relay",
)
PRESET = Flag(
    ("--preset",),
    str,
    "How long to wait for the network (lan)",
    fills="network.preset",
    metavar="local|lan|wan",
)
MEETING = (HOST_MADDR, ANNOUNCE_MADDR, INITIAL_PEER, IDENTITY, RELAY, PRESET)
"""What everyone who takes part in a swarm can be told."""

EVERY_STEPS = Flag(
    ("--every-steps",), int, "Inner steps between rounds (by task)", fills="gossip.every_steps", panel=GOSSIP
)
GROUPING = Flag(
    ("--grouping",),
    str,
    "Who averages with whom (auto)",
    fills="gossip.grouping",
    panel=GOSSIP,
    metavar="auto|crossed|random|grid|exponential|all",
    equal_for_all=True,
)
DIRECT_PORT = Flag(
    ("--direct-port", "--lane-port"),
    int,
    "TCP port for direct connections; 0: any free one (0)",
    fills="network.direct_port",
)
CODEC = Flag(
    ("--codec",),
    str,
    "How parameters travel (fp32)",
    fills="gossip.codec",
    panel=GOSSIP,
    metavar="fp32|fp16|bf16|int8|int4",
)
DATA_DIR = Flag(
    ("--data-dir",),
    Path,
    "Where the data are ($GOSSIPTRAIN_DATA, then the usual places)",
    fills="train.data_dir",
    metavar="DIR",
)
DEVICE = Flag(("--device",), str, "cpu, cuda, cuda:1, mps or auto (auto)", fills="train.device")
REPORT = Flag(("--report",), Path, "Write the result as one JSON object.", metavar="FILE")
LOG_LEVEL = Flag(
    ("--log-level",),
    str,
    "What to say of the course of things, for finding faults; also info,swarm=debug (warning)",
    metavar="debug|info|warning|error",
)
LOG_FORMAT = Flag(("--log-format",), str, "How progress is shown.", metavar="auto|live|plain|json", default="auto")

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


def _with_current_names(table: dict[str, Any]) -> dict[str, Any]:
    return {FORMER_NAMES.get(name, name): value for name, value in table.items()}


def tables_of(**settings: Settings) -> dict[str, Any]:
    """The resolved settings as nested tables for `config.toml`."""
    return {name: part.model_dump(mode="json") for name, part in settings.items()}
