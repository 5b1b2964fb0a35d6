"""`gossip train`: one peer of a swarm, or the first one, from the command line to the end of its run.

Owns how flags, a settings file and a resumed run become settings, flags going before the file and that before the
resumed run; and how run folder, views and trainer are put together. The flags stand in `train_flags`, the work is the
trainer's.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from gossiptrain import logs
from gossiptrain.cli import options
from gossiptrain.cli.flags import Given, with_flags
from gossiptrain.cli.join_text import Kind, command_of, join_text
from gossiptrain.cli.joining import link_of, network_settings
from gossiptrain.cli.paging import PAGE, page_of
from gossiptrain.cli.tracking import Tracking
from gossiptrain.cli.train_end import End, forget_unless_started, what_next
from gossiptrain.cli.train_flags import CONFIG, OUT, RESUME, TRACE, TRAIN_FLAGS
from gossiptrain.config import GossipSettings, NetworkSettings, SettingsT, layered
from gossiptrain.errors import CheckpointMismatchError, UsageError
from gossiptrain.events import Notice, Started
from gossiptrain.monitor.choose import view_for
from gossiptrain.monitor.json_lines import JsonLinesView
from gossiptrain.monitor.page.picture import SwarmPicture
from gossiptrain.monitor.terminal import TerminalView
from gossiptrain.monitor.view import Format, write_line
from gossiptrain.net.addresses import listening_addresses
from gossiptrain.net.trace import traced
from gossiptrain.net.transport import PeerId
from gossiptrain.node.living_peers import LivingPeers
from gossiptrain.node.own_swarms import OwnSwarms
from gossiptrain.swarm.access.link import InviteLink
from gossiptrain.training.bus import EventBus
from gossiptrain.training.interrupts import Interrupts
from gossiptrain.training.invitation import link_in
from gossiptrain.training.runs.folder import RunFolder
from gossiptrain.training.settings import TrainSettings
from gossiptrain.training.tasks import TASK_NAMES
from gossiptrain.wrong_values import one_of

if TYPE_CHECKING:
    from gossiptrain.training.runs.checkpoint_state import Checkpoint

JOIN_VARIABLE = "GOSSIPTRAIN_JOIN"


@dataclass(frozen=True)
class _Order:
    """What a run is told. folder: None for a new one. folder_holds_the_run: it is continued there."""

    train: TrainSettings
    gossip: GossipSettings
    network: NetworkSettings
    folder: Path | None = None
    folder_holds_the_run: bool = False
    checkpoint: Checkpoint | None = None
    join: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class _Output:
    """How a run is shown: the form of its progress, what is logged, where the trace of the protocol goes, its page."""

    form: str
    log_levels: str | None = None
    trace: Path | None = None
    page: str | None = None
    tracking: Tracking = field(default_factory=Tracking)

    def check(self) -> None:
        """Raises UsageError."""
        if self.form not in get_args(Format):
            raise UsageError(f"There is no log format {self.form!r}.", remedy=one_of(self.form, get_args(Format)))
        logs.parse_levels(logs.wanted_levels(self.log_levels))


@with_flags(*TRAIN_FLAGS)
def train(
    task: Annotated[
        str | None, typer.Argument(metavar="|".join(TASK_NAMES), help="What to learn.", show_default=False)
    ] = None,
    **values: Any,
) -> None:
    """Trains one peer. Without --join or --initial-peer it is the first, and prints how others join it.

    gossip train text --model tiny

    gossip train cifar10 --host-maddr /ip4/0.0.0.0/tcp/4011

    gossip train cifar10 --initial-peer /ip4/192.0.2.7/tcp/4011/p2p/12D3KooW...

    gossip invite | ssh elsewhere gossip train cifar10 --join -
    """
    given = Given(TRAIN_FLAGS, values)
    file = options.read_settings(given[CONFIG]) if given[CONFIG] is not None else {}
    checkpoint, before = _resumed(given[RESUME])
    task = _task_of(task, given, file=file, before=before)
    variant = {name: value for name, value in given.settings("variant").items() if value is not None}
    own = {"task": task, "variant": variant or None, **given.settings("train")}
    network_before = _as_known(before.get("network", {}))
    called = {
        table: {
            **{name: f"{name} in [{table}] of {given[CONFIG]}" for name in file.get(table, {})},
            **given.called(table),
        }
        for table in options.TABLES
    }

    def settings(kind: type[SettingsT], table: str, told: Mapping[str, Any], kept: Mapping[str, Any]) -> SettingsT:
        return layered(kind, told, file.get(table, {}), kept, called=called[table], remedy=options.SEE_HELP)

    network = settings(NetworkSettings, "network", _network_of(given), network_before)
    network = network.model_copy(update={"watch": given[PAGE] is not None})
    folder, holds_the_run = _folder_of(given[OUT], given[RESUME])
    join = _invited(link_of(given[options.JOIN]))
    if join is not None and own["run"] is None:
        own["run"] = join.run
    _run(
        _Order(
            train=settings(TrainSettings, "train", own, before.get("train", {})),
            gossip=settings(GossipSettings, "gossip", given.settings("gossip"), before.get("gossip", {})),
            network=network,
            folder=folder,
            folder_holds_the_run=holds_the_run,
            checkpoint=checkpoint,
            join=None if join is None else join.encode(),
        ),
        _Output(
            given[options.LOG_FORMAT],
            given[options.LOG_LEVEL],
            trace=given[TRACE],
            page=given[PAGE],
            tracking=Tracking.asked(given),
        ),
    )


def _run(order: _Order, output: _Output) -> None:
    """Trains until the end of the run, and shows it. Raises GossipError."""
    output.check()
    bus, picture = EventBus(), SwarmPicture()
    # The page is there at once, the peer when torch is imported.
    with page_of(picture, output.page) as notices:
        if output.page is not None:
            bus.subscribe(picture.handle, name="the page")
        _train(order, output, bus, notices)


def _train(order: _Order, output: _Output, bus: EventBus, notices: Sequence[Notice]) -> None:
    # Imported late: torch takes seconds, and a wrong flag should not have to wait for it.
    from gossiptrain.training.parts import Parts, TrainerInputs
    from gossiptrain.training.trainer import Trainer

    def joining(started: Started) -> str:
        # Asked for when the peer is up, so its parts are there.
        settings = {"train": order.train, "gossip": order.gossip, "network": order.network}
        command = command_of(settings, task=order.train.task, usual=parts.usual)
        kind = _kind_of(order, folder)
        if kind == "open":
            command.append(options.OPEN.spelling)
        elif kind == "founded":
            LivingPeers(OwnSwarms(), started.run).tell_command(PeerId(started.peer_id), shlex.join(command))
        announced = order.network.local_network
        listens = listening_addresses(order.network.host_maddrs) if order.network.announce_maddrs else ()
        text = join_text(started, command=command, kind=kind, announced=announced, listens=listens)
        return text if started.addresses else ""

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
        for notice in notices:
            bus.emit(notice)
        try:
            inputs = TrainerInputs(
                order.train, order.gossip, order.network, folder, bus, interrupts, order.checkpoint, order.join
            )
            parts = Parts(inputs)
            trainer = Trainer(inputs, parts)
            # Only now: a mistake found so far leaves a run that is resumed, or a folder that was named, as it was.
            folder.write_config(options.tables_of(**parts.resolved))
            folder.follow(bus)
            end = End(bus)
            with output.tracking.of(
                bus, folder, run=order.train.run or order.train.task, settings=options.tables_of(**parts.resolved)
            ):
                trainer.run()
            folder.check_not_removed()
            end.check_saved(folder)
        finally:
            view.close()
            if not order.folder_holds_the_run:
                forget_unless_started(folder, new=order.folder is None)
        if not isinstance(view, JsonLinesView):
            with contextlib.suppress(OSError):
                write_line(sys.stdout, what_next(folder.path))


def _task_of(task: str | None, given: Given, *, file: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """The task that was named, or that of the settings file or of the run that is resumed.

    Raises UsageError, CheckpointMismatchError.
    """
    kept = ((RESUME, options.read_task(before), CheckpointMismatchError), (CONFIG, options.read_task(file), UsageError))
    for flag, told, mistake in kept:
        if task is not None and told is not None and task != told:
            raise mistake(
                f"{flag.spelling} {given[flag]} is of the task {told}, not of {task}.",
                remedy=f"Leave the task out, or name another one with {flag.spelling}.",
            )
        task = told if task is None else task
    if task is None:
        raise UsageError(
            "What to learn was not said.", remedy=f"For example: gossip train {TASK_NAMES[0]}. See --help."
        )
    if task not in TASK_NAMES:
        raise UsageError(f"There is no task {task!r}.", remedy=one_of(task, TASK_NAMES))
    return task


def _kind_of(order: _Order, folder: RunFolder) -> Kind:
    if order.network.open:
        return "open"
    return "invited" if order.join is not None or folder.membership.exists() else "founded"


def _invited(given: str | None) -> InviteLink | None:
    """The link that was given, or that stands in the environment. Raises UsageError."""
    given = given or os.environ.get(JOIN_VARIABLE)
    return InviteLink.parse(link_in(given)) if given else None


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


def _network_of(given: Given) -> dict[str, Any]:
    """What the flags say of the network; `--join` and `--initial-peer` may both name peers."""
    told, joined = given.settings("network"), network_settings(given[options.JOIN])
    named = [*(told["initial_peers"] or ()), *joined["initial_peers"]]
    return {**told, **joined, "initial_peers": list(dict.fromkeys(named))}


def _as_known(network: Mapping[str, Any]) -> dict[str, Any]:
    """The network settings of a resumed run: whom it once asked first may be gone, which is no error any more."""
    named = [*network.get("initial_peers", ()), *network.get("known_peers", ())]
    asked = ("initial_peers", "search_local_network")
    others = {name: value for name, value in network.items() if name not in asked}
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
