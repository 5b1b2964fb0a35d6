"""`gossip train`: one peer of a swarm, or the first one, from the command line to the end of its run.

Owns how run folder, views and trainer are put together. The flags stand in `train_flags`, what follows from them in
`train_order`, the work is the trainer's.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer

from gossiptrain import logs
from gossiptrain.cli import options
from gossiptrain.cli.flags import Given, with_flags
from gossiptrain.cli.join_text import Kind, command_of, join_text
from gossiptrain.cli.keys import obeyed
from gossiptrain.cli.paging import PAGE, page_of
from gossiptrain.cli.recipe import RECIPE_FLAGS
from gossiptrain.cli.tracking import Tracking
from gossiptrain.cli.train_end import End, forget_unless_started, what_next
from gossiptrain.cli.train_flags import TRACE, TRAIN_FLAGS
from gossiptrain.cli.train_order import Order, order_of
from gossiptrain.errors import UsageError
from gossiptrain.events import Notice, Started
from gossiptrain.monitor.choose import view_for
from gossiptrain.monitor.json_lines import JsonLinesView
from gossiptrain.monitor.page.picture import SwarmPicture
from gossiptrain.monitor.terminal import TerminalView
from gossiptrain.monitor.view import Format, View, write_line
from gossiptrain.net.addresses import listening_addresses
from gossiptrain.net.trace import traced
from gossiptrain.net.transport import PeerId
from gossiptrain.node.living_peers import LivingPeers
from gossiptrain.node.own_swarms import OwnSwarms
from gossiptrain.training.bus import EventBus
from gossiptrain.training.interrupts import Interrupts
from gossiptrain.training.runs.folder import RunFolder
from gossiptrain.training.tasks import TASK_NAMES
from gossiptrain.wrong_values import one_of


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

    gossip invite | ssh elsewhere gossip train --join -
    """
    given = Given(TRAIN_FLAGS, values)
    _run(
        order_of(task, given),
        _Output(
            given[options.LOG_FORMAT],
            given[options.LOG_LEVEL],
            trace=given[TRACE],
            page=given[PAGE],
            tracking=Tracking.asked(given),
        ),
    )


def _run(order: Order, output: _Output) -> None:
    """Trains until the end of the run, and shows it. Raises GossipError."""
    output.check()
    bus, picture = EventBus(), SwarmPicture()
    # The page is there at once, the peer when torch is imported.
    with page_of(picture, output.page) as notices:
        if output.page is not None:
            bus.subscribe(picture.handle, name="the page")
        _train(order, output, bus, notices)


def _train(order: Order, output: _Output, bus: EventBus, notices: Sequence[Notice]) -> None:
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
        _obeying_q(view),
    ):
        bus.subscribe(view.handle, name="the output")
        for notice in (*notices, *order.notices):
            bus.emit(notice)
        if order.identity_key is not None:
            folder.keep_identity(order.identity_key)
        try:
            inputs = TrainerInputs(
                *(order.train, order.gossip, order.network, folder, bus, interrupts, order.checkpoint, order.join),
                recipe_settings=tuple(flag.fills for flag in RECIPE_FLAGS),
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
                write_line(sys.stdout, what_next(folder.path, task=order.train.task))


@contextlib.contextmanager
def _obeying_q(view: View) -> Iterator[None]:
    """While a person looks at the live view, the key q does what Ctrl+C does, once."""
    if not isinstance(view, TerminalView):
        yield
        return
    with obeyed("q", lambda: os.kill(os.getpid(), signal.SIGINT)) as works:
        if works:
            view.obey_q()
        yield


def _kind_of(order: Order, folder: RunFolder) -> Kind:
    if order.network.open:
        return "open"
    return "invited" if order.join is not None or folder.membership.exists() else "founded"
