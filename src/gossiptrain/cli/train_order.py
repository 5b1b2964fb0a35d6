"""What `gossip train` is told to do, from all who say something of it.

Owns who goes before whom: flags before a settings file, that before the swarm which is joined, and before a run which
is resumed. Asks the swarm for its recipe where it is joined by --join, or where no task is named; what of a recipe is
taken over is in `recipe`. Does not train.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from gossiptrain.cli import options
from gossiptrain.cli.flags import Given
from gossiptrain.cli.joining import link_of, network_settings
from gossiptrain.cli.paging import PAGE
from gossiptrain.cli.recipe import Learnt, Told, learn
from gossiptrain.cli.train_flags import CONFIG, OUT, RESUME
from gossiptrain.config import GossipSettings, NetworkSettings, SettingsT, layered
from gossiptrain.errors import CheckpointMismatchError, PeerUnreachableError, UsageError
from gossiptrain.events import Notice
from gossiptrain.swarm.access.link import InviteLink
from gossiptrain.training.invitation import invitation_of, link_in
from gossiptrain.training.settings import TrainSettings
from gossiptrain.training.tasks import TASK_NAMES
from gossiptrain.wrong_values import one_of

if TYPE_CHECKING:
    from gossiptrain.training.runs.checkpoint_state import Checkpoint

JOIN_VARIABLE = "GOSSIPTRAIN_JOIN"


@dataclass(frozen=True)
class Order:
    """What a run is told. folder: None for a new one. folder_holds_the_run: it is continued there."""

    train: TrainSettings
    gossip: GossipSettings
    network: NetworkSettings
    folder: Path | None = None
    folder_holds_the_run: bool = False
    checkpoint: Checkpoint | None = None
    join: str | None = field(default=None, repr=False)
    identity_key: bytes | None = field(default=None, repr=False)
    """Under which the swarm was asked already; None where it was not, or the key has its file."""
    notices: tuple[Notice, ...] = ()
    """What was found out before the run began."""


def order_of(task: str | None, given: Given) -> Order:
    """What holds for a run. task: as it was named. Raises GossipError."""
    return _Sources(task, given).order()


class _Sources:
    """All who say something of one run."""

    def __init__(self, task: str | None, given: Given) -> None:
        self._given = given
        self._file = options.read_settings(given[CONFIG]) if given[CONFIG] is not None else {}
        self._checkpoint, self._before = _resumed(given[RESUME])
        self._task = _named_task(task, given, file=self._file, before=self._before)
        link = given[options.JOIN] and link_of(given[options.JOIN])
        self._join = _invited(link)
        self._flags = {table: given.settings(table) for table in options.TABLES} | {"network": _network_of(given)}
        self._learnt: Learnt | None = None
        self._notices: list[Notice] = []

    def order(self) -> Order:
        """Once the swarm was asked, where it is to be. Raises GossipError."""
        if self._asks():
            self._ask()
        learnt, task = self._learnt, self._task if self._learnt is None else self._learnt.task
        if task is None:
            raise UsageError(
                "What to learn was not said.",
                remedy=f"For example: gossip train {TASK_NAMES[0]}; or --join with a link or an address of a swarm "
                "that learns already, or alone to find one on the local network. See --help.",
            )
        run = self._told.run if learnt is None else learnt.run
        variant = self._told.variant if learnt is None else {**learnt.variant, **self._told.variant}
        network = self._settings(NetworkSettings, "network")
        train = self._settings(TrainSettings, "train", task=task, variant=dict(variant) or None, run=run)
        gossip = self._settings(GossipSettings, "gossip")
        if learnt is not None:
            settled = {"train": train, "gossip": gossip, "network": network}
            self._notices += learnt.notices(self._told, settled)
        folder, holds_the_run = _folder_of(self._given[OUT], self._given[RESUME])
        return Order(
            train=train,
            gossip=gossip,
            network=network.model_copy(update={"watch": self._given[PAGE] is not None}),
            folder=folder,
            folder_holds_the_run=holds_the_run,
            checkpoint=self._checkpoint,
            join=None if self._join is None else self._join.encode(),
            identity_key=None if learnt is None else learnt.key,
            notices=tuple(self._notices),
        )

    @property
    def _told(self) -> Told:
        """By the user, whether on the command line or in a file."""
        told = {table: {**self._file.get(table, {}), **_given_in(self._flags[table])} for table in options.TABLES}
        run = told["train"].get("run")
        variant = _given_in(self._given.settings("variant")) or self._file.get("train", {}).get("variant", {})
        return Told(
            self._task, run if run is not None or self._join is None else self._join.run, variant, settings=told
        )

    def _settings(self, kind: type[SettingsT], table: str, **more: Any) -> SettingsT:
        taken_over = {} if self._learnt is None else self._learnt.layer(table, self._told)
        called = {name: f"{name} of the swarm" for name in taken_over}
        called |= {name: f"{name} in [{table}] of {self._given[CONFIG]}" for name in self._file.get(table, {})}
        before = self._before.get(table, {})
        return layered(
            kind,
            {**self._flags[table], **more},
            self._file.get(table, {}),
            taken_over,
            _as_known(before) if table == "network" else before,
            called={**called, **self._given.called(table)},
            remedy=options.SEE_HELP,
        )

    def _asks(self) -> bool:
        """A run that is resumed has its settings, and one that names its task at `--initial-peer` is said to have."""
        given = self._given
        if given[RESUME] is not None or self._flags["train"].get("alone"):
            return False
        joins = any(network_settings(given[options.JOIN]).values())
        return self._join is not None or joins or (self._task is None and bool(self._flags["network"]["initial_peers"]))

    def _ask(self) -> None:
        network = self._settings(NetworkSettings, "network")
        link = None if self._join is None else self._join.encode()
        invitation = invitation_of(link, network, run=self._told.run)
        kept = Path(network.identity_path or (self._given[OUT] or Path()) / "identity.key").expanduser()
        has_key = network.identity_path is not None or (self._given[OUT] is not None and kept.exists())
        try:
            self._learnt = learn(
                invitation.network, self._told, join=invitation.link, identity=kept if has_key else None
            )
        except PeerUnreachableError as error:
            # Who looks on the local network would only look there once more.
            if self._task is None or network.search_local_network:
                raise
            self._notices.append(
                Notice(level="warning", message=f"the swarm could not be asked how it trains: {error.what}")
            )
        else:
            self._learnt.check(self._told)


def _named_task(task: str | None, given: Given, *, file: Mapping[str, Any], before: Mapping[str, Any]) -> str | None:
    """The task that was named, or that of the settings file or of the run that is resumed, if any of these says one.

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
    if task is not None and task not in TASK_NAMES:
        raise UsageError(f"There is no task {task!r}.", remedy=one_of(task, TASK_NAMES))
    return task


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


def _given_in(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value not in (None, [])}


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
