"""What a joiner takes over of the recipe by which its swarm trains, and in what it was told otherwise.

Owns which of a swarm's settings are believed, which of them give way to the joiner's own, and the sentences about both.
How a recipe is asked for is `node.recipe`.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gossiptrain.cli.flags import Flag
from gossiptrain.cli.train_flags import TRAIN_FLAGS
from gossiptrain.config import NetworkSettings, Settings
from gossiptrain.errors import GossipError, RunMismatchError, UsageError
from gossiptrain.events import Notice
from gossiptrain.monitor.words import printable
from gossiptrain.net.identity import Identity
from gossiptrain.swarm.recipe_messages import Recipe
from gossiptrain.training.tasks import TASK_NAMES

RECIPE_FLAGS = tuple(flag for flag in TRAIN_FLAGS if flag.equal_for_all or flag.of_recipe)
"""Those that others are told, where they were used."""
_VARIANT = {flag.field: flag for flag in TRAIN_FLAGS if flag.table == "variant"}
_BATCH, _LEARNING_RATE = "train.batch", "train.learning_rate"


@dataclass(frozen=True)
class Told:
    """What the user has said of one run, by flags and files. settings: by table, the values that were given."""

    task: str | None
    run: str | None
    variant: Mapping[str, Any]
    settings: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Learnt:
    """A recipe that has been checked, and the identity with which it was asked for.

    key: of an identity that was made for it and is in no file yet. Secret.
    """

    run: str
    recipe: Recipe
    peer: str
    key: bytes | None

    @property
    def task(self) -> str:
        """One of this version's."""
        return self.recipe.task

    @property
    def variant(self) -> dict[str, Any]:
        """Of the task."""
        return dict(self.recipe.variant)

    def layer(self, table: str, told: Told) -> dict[str, Any]:
        """The settings of `table` that hold where the user has said nothing.

        The usual learning rate follows from the batch, so that of the swarm is none for another batch.
        """
        batch = told.settings.get("train", {}).get("batch")
        without = set() if batch in (None, self.recipe.settings.get(_BATCH)) else {_LEARNING_RATE}
        return {
            flag.field: self.recipe.settings[flag.fills]
            for flag in RECIPE_FLAGS
            if flag.table == table and flag.fills in self.recipe.settings and flag.fills not in without
        }

    def check(self, told: Told) -> None:
        """Raises RunMismatchError where the user has said anything else of what must be the same for all."""
        names = (("the task", told.task, self.task), ("--run", told.run, self.run))
        differences = [_difference(name, mine, theirs) for name, mine, theirs in names if mine not in (None, theirs)]
        differences += self._differences(told, lambda flag: flag.equal_for_all or flag.table == "variant")
        if differences:
            raise RunMismatchError(
                f"The swarm trains otherwise than this peer was told to: {'; '.join(differences)}.",
                cause="Peers average only with peers of the same task, model and strategy.",
                remedy="Leave these out: --join takes them over from the swarm. Or join another swarm.",
            )

    def notices(self, told: Told, settled: Mapping[str, Settings]) -> Iterator[Notice]:
        """What a person should know: what was taken over, and in what this peer trains otherwise. settled: what holds
        now."""
        taken = shlex.join(self._taken(told, settled))
        yield Notice(message=f"taken over from the swarm (peer {self.peer}): {taken}")
        if differences := "; ".join(self._differences(told, lambda flag: flag.of_recipe)):
            yield Notice(
                level="warning",
                message=f"this peer was told to train otherwise than the swarm: {differences}. That works; leave these "
                "out to do as the others do.",
            )

    def _taken(self, told: Told, settled: Mapping[str, Settings]) -> Iterator[str]:
        """As flags; what was said, and what holds for every task where nothing is said, is left out."""
        if told.task is None:
            yield self.task
        for name, chosen in self.recipe.variant.items():
            if told.variant.get(name) is None:
                yield from (_VARIANT[name].spelling, _shown(chosen))
        for flag in RECIPE_FLAGS:
            value = self.recipe.settings.get(flag.fills)
            said = told.settings.get(flag.table, {}).get(flag.field)
            holds = getattr(settled[flag.table], flag.field)
            if said is None and value == holds != type(settled[flag.table]).model_fields[flag.field].default:
                yield from (flag.spelling, _shown(value))

    def _differences(self, told: Told, wanted: Callable[[Flag], bool]) -> Iterator[str]:
        variant = {f"variant.{name}": value for name, value in self.recipe.variant.items()}
        for flag in (*_VARIANT.values(), *RECIPE_FLAGS):
            theirs = {**self.recipe.settings, **variant}.get(flag.fills)
            own = told.variant if flag.table == "variant" else told.settings.get(flag.table, {})
            mine = own.get(flag.field)
            if wanted(flag) and None not in (mine, theirs) and mine != theirs:
                yield _difference(flag.spelling, mine, theirs)


def learn(network: NetworkSettings, told: Told, *, join: str, identity: Path | None) -> Learnt:
    """Asks the swarm that is to be joined: that of the initial peers, or the one on the local network of which the user
    has said task or run.

    identity: where the peer's key is kept; None where it has none yet. Raises GossipError: for a swarm that does not
    answer, and for one whose recipe cannot be followed here.
    """
    # Imported late: it takes half a second, which only a joiner should have to wait for.
    from gossiptrain.node.nearby import Wanted
    from gossiptrain.node.recipe import learn_recipe

    wanted = Wanted(told.task, told.run)
    with Identity.kept_or_new(None if identity is None else str(identity)) as own:
        answer = asyncio.run(learn_recipe(network, own, join=join, wanted=wanted))
        key = own.to_protobuf() if identity is None else None
    recipe = answer.recipe
    if recipe is None:
        raise UsageError(
            f"The swarm of the run {printable(answer.run, 60)!r} trains by a program of its user's own, not by "
            "`gossip train`.",
            remedy="Start that program, with join=LINK or initial_peers=[...] for gossip().",
        )
    check_known(recipe)
    return Learnt(answer.run, recipe, str(answer.peer)[-8:], key)


def check_known(recipe: Recipe) -> None:
    """Raises GossipError. Values of settings are checked where they become settings, as those of users are."""
    known = {flag.fills for flag in RECIPE_FLAGS}
    strange = [*(recipe.settings.keys() - known), *(recipe.variant.keys() - _VARIANT.keys())]
    if recipe.task not in TASK_NAMES or strange:
        what = f"the setting {sorted(strange)[0]}" if strange else f"the task {recipe.task!r}"
        raise GossipError(
            f"The swarm trains by {what}, which this version does not know.",
            cause="The swarm was started with another version of gossiptrain.",
            remedy="Install the same version here.",
        )


def _difference(name: str, mine: Any, theirs: Any) -> str:
    return f"{name} is {_shown(mine)} here and {_shown(theirs)} there"


def _shown(value: Any) -> str:
    return f"{value:.12g}" if isinstance(value, float) else printable(str(value), 60)
