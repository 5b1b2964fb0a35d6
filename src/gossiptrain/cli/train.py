"""`gossip train`: one peer of a swarm, or the first one.

Owns the flags of training and puts settings, run folder, views and trainer together. The work is the trainer's.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from gossiptrain.cli import options
from gossiptrain.cli.join_text import join_text, own_program
from gossiptrain.config import GossipSettings, NetworkSettings
from gossiptrain.errors import UsageError
from gossiptrain.events import Started
from gossiptrain.monitor.choose import view_for
from gossiptrain.monitor.view import Format
from gossiptrain.training.bus import EventBus
from gossiptrain.training.interrupts import Interrupts
from gossiptrain.training.run_folder import RunFolder
from gossiptrain.training.settings import TrainSettings
from gossiptrain.training.tasks import TASK_NAMES

if TYPE_CHECKING:
    from gossiptrain.training.checkpoints import Checkpoint

GOSSIP = options.GOSSIP
EQUAL_FOR_ALL = {
    "--strategy": "strategy",
    "--outer-lr": "outer_learning_rate",
    "--outer-momentum": "outer_momentum",
    "--grouping": "grouping",
    "--group-seed": "seed",
}
"""Flags that are in the commands with which others join, where they say something else than the default."""


def train(
    task: Annotated[str, typer.Argument(metavar="|".join(TASK_NAMES), help="What to learn.")],
    host_maddr: options.HostMaddr = None,
    announce_maddr: options.AnnounceMaddr = None,
    initial_peer: options.InitialPeer = None,
    identity: options.IdentityFile = None,
    relay: options.Relay = None,
    preset: options.PresetName = None,
    lane: options.Lane = None,
    lane_port: options.LanePort = None,
    run: Annotated[str | None, typer.Option(help="Name of the run, the same for all its peers (the task)")] = None,
    gossip_group_size: Annotated[
        int | None, typer.Option(help="Most peers that average together, 2-64 (16)", rich_help_panel=GOSSIP)
    ] = None,
    gossip_min_group_size: Annotated[
        int | None, typer.Option(help="Fewest peers for a round, 2-16 (2)", rich_help_panel=GOSSIP)
    ] = None,
    grouping: options.Grouping = None,
    gossip_alpha: Annotated[
        float | None,
        typer.Option(help="Share of the average that is taken, 0.1-1.0 (1.0)", rich_help_panel=GOSSIP),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            metavar="average|step-mix|diloco|noloco|sync",
            help="What is sent and what becomes of the average; the same for all (by task)",
            rich_help_panel=GOSSIP,
        ),
    ] = None,
    outer_lr: Annotated[
        float | None,
        typer.Option(
            "--outer-lr", "--outer-learning-rate", help="Of the outer step (by strategy)", rich_help_panel=GOSSIP
        ),
    ] = None,
    outer_momentum: Annotated[
        float | None, typer.Option(help="Of the outer step (by strategy)", rich_help_panel=GOSSIP)
    ] = None,
    codec: options.Codec = None,
    every_steps: options.EverySteps = None,
    every_seconds: Annotated[
        float | None, typer.Option(help="Seconds between rounds, instead.", rich_help_panel=GOSSIP)
    ] = None,
    matchmaking_time: Annotated[
        float | None,
        typer.Option(
            "--matchmaking-time",
            "--min-matchmaking-time",
            help="Longest wait for a straggler, in seconds (5)",
            rich_help_panel=GOSSIP,
        ),
    ] = None,
    group_seed: Annotated[
        int | None,
        typer.Option(help="Seeds the choice of groups; the same for all (0)", rich_help_panel=GOSSIP),
    ] = None,
    data_dir: options.DataDir = None,
    share: Annotated[
        str | None, typer.Option(metavar="I/N", help="Train on part I of N of the data (all, in an own order)")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Samples in one step (by task)")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the data (by task)")] = None,
    lr: Annotated[float | None, typer.Option("--lr", "--learning-rate", help="Peak learning rate (by task)")] = None,
    max_steps: Annotated[int | None, typer.Option(help="End after so many steps; goes before --epochs.")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="End after so many seconds.")] = None,
    wait_for: Annotated[
        int | None, typer.Option(help="Begin once so many peers are there, this one included (1)")
    ] = None,
    eval_every: Annotated[
        int | None, typer.Option(help="Steps between evaluations; 0: only at the end (once an epoch)")
    ] = None,
    checkpoint_every: Annotated[float | None, typer.Option(help="Seconds between checkpoints (120)")] = None,
    seed: Annotated[int | None, typer.Option(help="Seeds the first peer's parameters (0)")] = None,
    device: options.Device = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads for training (torch's choice)")] = None,
    precision: Annotated[str | None, typer.Option(metavar="auto|fp32|bf16|fp16", help="Mixed precision (auto)")] = None,
    model: Annotated[
        str | None, typer.Option(help="cifar10: small, tiny, vgg11; text: small, tiny; imagenet: resnet18, resnet50")
    ] = None,
    image_size: Annotated[int | None, typer.Option(help="imagenet: pixels a side (224)")] = None,
    alone: Annotated[bool, typer.Option("--alone", help="Plain training without a network, to compare.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The run folder (runs/<id>)")] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Continue the run in this folder, with its settings.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Settings as in a run's config.toml; flags go before it.")
    ] = None,
    log_format: Annotated[str, typer.Option(metavar="auto|live|plain|json", help="How progress is shown.")] = "auto",
) -> None:
    """Trains one peer. Without --initial-peer it is the first; it prints the commands with which others join.

    Examples:

    gossip train digits

    gossip train cifar10 --host-maddr /ip4/0.0.0.0/tcp/4011

    gossip train cifar10 --initial-peer /ip4/192.0.2.7/tcp/4011/p2p/12D3KooW...

    gossip train imagenet --data-dir ~/imagenet --model resnet50 --preset wan --every-seconds 300

    gossip train text --data-dir ~/data
    """
    file = options.read_settings(config) if config is not None else {}
    checkpoint, before = _resumed(resume)
    variant = {name: value for name, value in (("model", model), ("image_size", image_size)) if value is not None}
    train_settings = options.merged(
        TrainSettings,
        {
            "task": task,
            "variant": variant or None,
            "run": run,
            "alone": alone or None,
            "data_dir": data_dir,
            "share": share,
            "batch": batch,
            "epochs": epochs,
            "learning_rate": lr,
            "max_steps": max_steps,
            "max_seconds": max_seconds,
            "seed": seed,
            "device": device,
            "threads": threads,
            "precision": precision,
            "wait_for": wait_for,
            "eval_every": eval_every,
            "checkpoint_every": checkpoint_every,
        },
        file.get("train", {}),
        before.get("train", {}),
    )
    gossip_settings = options.merged(
        GossipSettings,
        {
            "gossip_group_size": gossip_group_size,
            "gossip_min_group_size": gossip_min_group_size,
            "grouping": grouping,
            "gossip_alpha": gossip_alpha,
            "strategy": strategy,
            "outer_learning_rate": outer_lr,
            "outer_momentum": outer_momentum,
            "codec": codec,
            "every_steps": every_steps,
            "every_seconds": every_seconds,
            "matchmaking_time": matchmaking_time,
            "seed": group_seed,
        },
        file.get("gossip", {}),
        before.get("gossip", {}),
    )
    # Where to listen and whom to ask is of the moment: a resumed run does not bring back old addresses of others.
    network_before = {name: value for name, value in before.get("network", {}).items() if name != "initial_peers"}
    network_settings = options.merged(
        NetworkSettings,
        {
            "host_maddrs": host_maddr,
            "announce_maddrs": announce_maddr,
            "initial_peers": initial_peer,
            "identity_path": identity,
            "relay": relay,
            "preset": preset,
            "lane": lane,
            "lane_port": lane_port,
        },
        file.get("network", {}),
        network_before,
    )
    _train(train_settings, gossip_settings, network_settings, out=_folder_of(out, resume), checkpoint=checkpoint,
           log_format=log_format)  # fmt: skip


def _resumed(resume: Path | None) -> tuple[Checkpoint | None, Mapping[str, Any]]:
    if resume is None:
        return None, {}
    from gossiptrain.training.checkpoints import load_checkpoint

    checkpoint = load_checkpoint(resume, report=lambda text: typer.echo(text, err=True))
    settings = checkpoint.path.parent.parent / "config.toml"
    return checkpoint, options.read_settings(settings) if settings.is_file() else {}


def _folder_of(out: Path | None, resume: Path | None) -> tuple[Path | None, bool]:
    """The run folder that was named, and whether it already holds the run."""
    if out is not None or resume is None:
        return out, False
    inside = [folder for folder in (resume, *resume.parents[:2]) if (folder / "checkpoints").is_dir()]
    return (inside[0], True) if inside else (None, False)


def _train(
    train_settings: TrainSettings,
    gossip_settings: GossipSettings,
    network_settings: NetworkSettings,
    *,
    out: tuple[Path | None, bool],
    checkpoint: Checkpoint | None,
    log_format: str,
) -> None:
    if log_format not in get_args(Format):
        raise UsageError(f"There is no log format {log_format!r}.", remedy="Use auto, live, plain or json.")
    # Imported late: torch takes seconds, and a wrong flag should not have to wait for it.
    from gossiptrain.training.trainer import Assignment, Trainer

    bus = EventBus()

    def joining(started: Started) -> str:
        # Asked for when the peer is up, so the trainer is there.
        usual = GossipSettings(strategy=trainer.usual_strategy)
        return _join_text(started, _command(train_settings, gossip_settings, usual))

    view = view_for(cast(Format, log_format), sys.stdout, join_text=joining)
    with (
        Interrupts() as interrupts,
        RunFolder.create(out[0], train_settings.run or train_settings.task, resume=out[1]) as folder,
    ):
        bus.subscribe(view.handle, name="the output")
        try:
            trainer = Trainer(
                Assignment(train_settings, gossip_settings, network_settings, folder, bus, interrupts, checkpoint)
            )
            # Only now: a mistake found so far leaves a run that is resumed, or a folder that was named, as it was.
            folder.write_config(options.tables_of(**trainer.resolved))
            folder.follow(bus)
            trainer.run()
        finally:
            view.close()
            _forget_unless_started(folder, new=out[0] is None)


def _forget_unless_started(folder: RunFolder, *, new: bool) -> None:
    """Removes what would stand in the way of a second try where the peer never came up. new: the folder is so too."""
    told = folder.metrics.exists() and folder.metrics.stat().st_size
    if told or folder.summary.exists() or any(folder.checkpoints.iterdir()):
        return
    folder.metrics.unlink(missing_ok=True)
    folder.config.unlink(missing_ok=True)
    if new:
        shutil.rmtree(folder.path, ignore_errors=True)


def _command(settings: TrainSettings, gossip_settings: GossipSettings, usual: GossipSettings) -> list[str]:
    """How another peer of the same run is started: with everything that must be equal, and nothing else."""
    command = (
        own_program() if Path(sys.argv[0]).name.startswith("trainGossip") else [*own_program(), "train", settings.task]
    )
    if settings.run is not None:
        command += ["--run", settings.run]
    for name, value in settings.variant.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    for flag, name in EQUAL_FOR_ALL.items():
        value = getattr(gossip_settings, name)
        if value not in (None, getattr(usual, name)):
            command += [flag, str(value)]
    return command


def _join_text(started: Started, command: list[str]) -> str:
    return join_text(started, command=command) if started.addresses else ""
