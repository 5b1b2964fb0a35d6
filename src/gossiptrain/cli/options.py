"""The flags that several commands share, and how they, a TOML file and a resumed run become settings.

Owns names, help texts and the order of precedence: flags over the file, the file over the resumed run's settings,
those over the defaults. Does not know what the settings do.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from gossiptrain.config import Settings, SettingsT, checked
from gossiptrain.errors import UsageError

HostMaddr = Annotated[
    list[str] | None,
    typer.Option("--host-maddr", metavar="MADDR", help="Where to listen. Repeatable (/ip4/0.0.0.0/tcp/0: any port)"),
]
AnnounceMaddr = Annotated[
    list[str] | None,
    typer.Option("--announce-maddr", metavar="MADDR", help="Address to tell others, behind a forwarded port."),
]
InitialPeer = Annotated[
    list[str] | None,
    typer.Option(
        "--initial-peer",
        "--initial-peers",
        metavar="MADDR",
        help="Address, with /p2p/ID, of any living peer of the swarm. Repeatable (none: be the first)",
    ),
]
IdentityFile = Annotated[
    str | None,
    typer.Option("--identity", metavar="FILE", help="Private key; keeps the peer id over restarts (run folder)"),
]
Relay = Annotated[
    bool | None, typer.Option("--relay/--no-relay", help="Be reachable behind a NAT through other peers (no)")
]
PresetName = Annotated[
    str | None,
    typer.Option("--preset", metavar="local|lan|wan", help="How patient to be with the network (lan)"),
]
Lane = Annotated[
    str | None,
    typer.Option(
        "--lane", metavar="auto|direct|libp2p", help="How parameters travel: directly where that is possible (auto)"
    ),
]
LanePort = Annotated[
    int | None, typer.Option("--lane-port", help="TCP port for direct connections; 0: any free one (0)")
]
GOSSIP = "Gossip"
"""The panel of `--help` for what is said of rounds."""
Grouping = Annotated[
    str | None,
    typer.Option(
        metavar="auto|crossed|random|grid|exponential|all", help="Who averages with whom (auto)", rich_help_panel=GOSSIP
    ),
]
Codec = Annotated[
    str | None,
    typer.Option(metavar="fp32|fp16|bf16|int8", help="How parameters travel (fp32)", rich_help_panel=GOSSIP),
]
EverySteps = Annotated[int | None, typer.Option(help="Inner steps between rounds (by task)", rich_help_panel=GOSSIP)]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="Where the data are ($GOSSIPTRAIN_DATA, then the usual places)"),
]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1, mps or auto (auto)")]
ReportFile = Annotated[
    Path | None, typer.Option("--report", metavar="FILE", help="Write the result as one JSON object.")
]

TABLES = ("train", "gossip", "network")
"""The tables of a settings file."""
ALTERNATIVES = ({"every_steps", "every_seconds"}, {"max_steps", "epochs"})


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file of settings. Raises UsageError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"The settings file {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
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
    return tables


def merged(kind: type[SettingsT], *layers: Mapping[str, Any]) -> SettingsT:
    """Settings of `kind` from the first layer that gives each value; None and empty lists give none.

    Of two settings that can take each other's place, a layer that gives one leaves no room for the other from below.
    """
    values: dict[str, Any] = {}
    for layer in reversed(layers):
        given = {name: value for name, value in layer.items() if value is not None and value != []}
        for alternatives in ALTERNATIVES:
            if given.keys() & alternatives:
                values = {name: value for name, value in values.items() if name not in alternatives}
        values.update(given)
    return checked(kind, **values)


def tables_of(**settings: Settings) -> dict[str, Any]:
    """The resolved settings as nested tables for `config.toml`."""
    return {name: part.model_dump(mode="json") for name, part in settings.items()}
