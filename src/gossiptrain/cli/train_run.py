"""One run of `gossip train`, from its settings to its end.

Owns how run folder, views and trainer are put together, and the command with which others join. The work is the
trainer's. Does not know flags but for those that stand in that command.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from gossiptrain import logs
from gossiptrain.cli import options
from gossiptrain.cli.join_text import join_text, own_program
from gossiptrain.cli.train_flags import GOSSIP_FLAGS
from gossiptrain.config import GossipSettings, NetworkSettings
from gossiptrain.errors import UsageError
from gossiptrain.events import NodeChanged, Notice, PeerChanged, Started, event_from_json
from gossiptrain.monitor.choose import view_for
from gossiptrain.monitor.terminal import TerminalView
from gossiptrain.monitor.view import Format
from gossiptrain.net.trace import traced
from gossiptrain.training.bus import EventBus
from gossiptrain.training.interrupts import Interrupts
from gossiptrain.training.runs.folder import RunFolder
from gossiptrain.training.settings import TrainSettings

if TYPE_CHECKING:
    from gossiptrain.training.runs.checkpoint_state import Checkpoint


@dataclass(frozen=True)
class TrainOrder:
    """What a run is told. folder: None for a new one. folder_holds_the_run: it is continued there."""

    train: TrainSettings
    gossip: GossipSettings
    network: NetworkSettings
    folder: Path | None = None
    folder_holds_the_run: bool = False
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True)
class Output:
    """How a run is shown: the form of its progress, what is logged, and where the trace of the protocol goes."""

    form: str
    log_levels: str | None = None
    trace: Path | None = None

    def check(self) -> None:
        """Raises UsageError."""
        if self.form not in get_args(Format):
            raise UsageError(f"There is no log format {self.form!r}.", remedy="Use auto, live, plain or json.")
        logs.parse_levels(logs.wanted_levels(self.log_levels))


def run_training(order: TrainOrder, output: Output) -> None:
    """Trains until the end of the run, and shows it. Raises GossipError."""
    output.check()
    # Imported late: torch takes seconds, and a wrong flag should not have to wait for it.
    from gossiptrain.training.parts import TrainerInputs
    from gossiptrain.training.trainer import Trainer

    bus = EventBus()

    def joining(started: Started) -> str:
        # Asked for when the peer is up, so the trainer is there.
        usual = GossipSettings(strategy=trainer.usual_strategy)
        return join_text(started, command=_join_command(order, usual)) if started.addresses else ""

    view = view_for(cast(Format, output.form), sys.stdout, join_text=joining)
    with (
        Interrupts() as interrupts,
        traced(output.trace),
        RunFolder.create(
            order.folder, order.train.run or order.train.task, resume=order.folder_holds_the_run
        ) as folder,
        # Lines of a log would tear the live view.
        logs.shown(output.log_levels, file=folder.log if isinstance(view, TerminalView) else None),
    ):
        bus.subscribe(view.handle, name="the output")
        try:
            trainer = Trainer(
                TrainerInputs(order.train, order.gossip, order.network, folder, bus, interrupts, order.checkpoint)
            )
            # Only now: a mistake found so far leaves a run that is resumed, or a folder that was named, as it was.
            folder.write_config(options.tables_of(**trainer.resolved))
            folder.follow(bus)
            trainer.run()
            folder.check_not_removed()
        finally:
            view.close()
            if not order.folder_holds_the_run:
                _forget_unless_started(folder, new=order.folder is None)


def _forget_unless_started(folder: RunFolder, *, new: bool) -> None:
    """Removes what would stand in the way of a second try where the peer has not begun. new: the folder is so too."""
    if _has_trained(folder) or folder.summary.exists() or any(folder.checkpoints.iterdir()):
        return
    folder.metrics.unlink(missing_ok=True)
    folder.config.unlink(missing_ok=True)
    if new:
        shutil.rmtree(folder.path, ignore_errors=True)


def _has_trained(folder: RunFolder) -> bool:
    """Whether anything was told that comes only after the swarm was met."""
    if not folder.metrics.exists():
        return False
    with folder.metrics.open("rb") as lines:
        return any(
            not isinstance(event_from_json(line), Started | NodeChanged | Notice | PeerChanged) for line in lines
        )


def _join_command(order: TrainOrder, usual: GossipSettings) -> list[str]:
    """How another peer of the same run is started: with everything that must be equal, and nothing else."""
    is_script = Path(sys.argv[0]).name.startswith("trainGossip")
    command = own_program() if is_script else [*own_program(), "train", order.train.task]
    if order.train.run is not None:
        command += ["--run", order.train.run]
    for name, value in order.train.variant.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    for flag in (flag for flag in GOSSIP_FLAGS if flag.equal_for_all):
        value = getattr(order.gossip, flag.field)
        if value not in (None, getattr(usual, flag.field)):
            command += [flag.spelling, str(value)]
    return command
