"""`gossip train`: one peer of a swarm, or the first one.

Owns the command: how flags, a settings file and a resumed run become settings. The flags stand in `train_flags`, the
run itself is in `train_run`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gossiptrain.cli import options
from gossiptrain.cli.flags import Given, with_flags
from gossiptrain.cli.train_flags import CONFIG, OUT, RESUME, TRACE, TRAIN_FLAGS
from gossiptrain.cli.train_run import Output, TrainOrder, run_training
from gossiptrain.config import GossipSettings, NetworkSettings
from gossiptrain.training.settings import TrainSettings
from gossiptrain.training.tasks import TASK_NAMES

if TYPE_CHECKING:
    from gossiptrain.training.runs.checkpoint_state import Checkpoint


@with_flags(*TRAIN_FLAGS)
def train(
    task: Annotated[str, typer.Argument(metavar="|".join(TASK_NAMES), help="What to learn.")], given: Given
) -> None:
    """Trains one peer. Without --initial-peer it is the first; it prints the commands with which others join.

    Examples:

    gossip train digits

    gossip train cifar10 --host-maddr /ip4/0.0.0.0/tcp/4011

    gossip train cifar10 --initial-peer /ip4/192.0.2.7/tcp/4011/p2p/12D3KooW...

    gossip train imagenet --data-dir ~/imagenet --model resnet50 --preset wan --every-seconds 300

    gossip train text --data-dir ~/data
    """
    file = options.read_settings(given[CONFIG]) if given[CONFIG] is not None else {}
    checkpoint, before = _resumed(given[RESUME])
    variant = {name: value for name, value in given.settings("variant").items() if value is not None}
    own = {"task": task, "variant": variant or None, **given.settings("train")}
    network_before = _as_known(before.get("network", {}))
    network = options.merged(NetworkSettings, given.settings("network"), file.get("network", {}), network_before)
    folder, holds_the_run = _folder_of(given[OUT], given[RESUME])
    run_training(
        TrainOrder(
            train=options.merged(TrainSettings, own, file.get("train", {}), before.get("train", {})),
            gossip=options.merged(
                GossipSettings, given.settings("gossip"), file.get("gossip", {}), before.get("gossip", {})
            ),
            network=network,
            folder=folder,
            folder_holds_the_run=holds_the_run,
            checkpoint=checkpoint,
        ),
        Output(given[options.LOG_FORMAT], given[options.LOG_LEVEL], trace=given[TRACE]),
    )


def _resumed(resume: Path | None) -> tuple[Checkpoint | None, Mapping[str, Any]]:
    if resume is None:
        return None, {}
    from gossiptrain.training.runs.checkpoint_folders import list_checkpoints
    from gossiptrain.training.runs.checkpoints import load_checkpoint

    kept = resume / "config.toml"
    if kept.is_file() and not list_checkpoints(resume / "checkpoints"):
        typer.echo(
            f"The run in {resume} ended before its first checkpoint: it begins anew, as the same peer.", err=True
        )
        return None, options.read_settings(kept)
    checkpoint = load_checkpoint(resume, report=lambda text: typer.echo(text, err=True))
    settings = checkpoint.path.parent.parent / "config.toml"
    return checkpoint, options.read_settings(settings) if settings.is_file() else {}


def _as_known(network: Mapping[str, Any]) -> dict[str, Any]:
    """The network settings of a resumed run: whom it once asked first may be gone, which is no error any more."""
    named = [*network.get("initial_peers", ()), *network.get("known_peers", ())]
    others = {name: value for name, value in network.items() if name != "initial_peers"}
    return {**others, "known_peers": list(dict.fromkeys(named))}


def _folder_of(out: Path | None, resume: Path | None) -> tuple[Path | None, bool]:
    """The run folder that was named, and whether it already holds the run."""
    if out is not None or resume is None:
        return out, False
    inside = [
        folder
        for folder in (resume, *resume.parents[:2])
        if (folder / "checkpoints").is_dir() or (folder / "config.toml").is_file()
    ]
    return (inside[0], True) if inside else (None, False)
