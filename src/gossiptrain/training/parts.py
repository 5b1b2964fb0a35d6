"""What one run of the command line's trainer is made of: task, data, model, optimizer, settings, and its swarm.

Owns the order in which all of it is made, what the task's recipe says where the settings say nothing, and where in the
run folder the peer keeps its key and the addresses of others. Does not train.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from gossiptrain import events
from gossiptrain.config import GossipSettings, NetworkSettings, Settings
from gossiptrain.net.identity import Identity
from gossiptrain.swarm.recipe_messages import Recipe
from gossiptrain.training.bus import EventBus
from gossiptrain.training.compute import MixedPrecision, chosen_device
from gossiptrain.training.gossip import gossip
from gossiptrain.training.interrupts import Interrupts
from gossiptrain.training.membership import Gossip
from gossiptrain.training.model.batch_norm import FixedStatistics
from gossiptrain.training.model.strategy_choice import Usual, settled
from gossiptrain.training.runs.checkpoint_state import Checkpoint
from gossiptrain.training.runs.checkpointer import TrainingState
from gossiptrain.training.runs.folder import RunFolder
from gossiptrain.training.settings import TrainSettings
from gossiptrain.training.tasks import task_named
from gossiptrain.training.tasks.batches import TrainingBatches
from gossiptrain.training.tasks.sampling import Share, seed_from

SMALL_MODEL = 200_000
"""Parameters below which handing the work of a step to several threads takes longer than the work."""


@dataclass(frozen=True)
class TrainerInputs:
    """Everything one run of the trainer is given. interrupts: entered, before anything that takes time."""

    train: TrainSettings
    gossip: GossipSettings
    network: NetworkSettings
    folder: RunFolder
    bus: EventBus
    interrupts: Interrupts
    resume: Checkpoint | None = None
    join: str | None = field(default=None, repr=False)
    """The link with which the peer was invited; its run is in `train`. Secret."""
    recipe_settings: tuple[str, ...] = ()
    """Which settings newcomers are told, by table and field, such as `gossip.every_steps`."""


class Parts:
    """Made once for each run, and closed at its end."""

    def __init__(self, inputs: TrainerInputs) -> None:
        """Reads the data and builds the model. Raises UsageError, DataError, IdentityInUseError."""
        settings = inputs.train
        self._given = inputs
        self.device = chosen_device(settings.device)
        self.task = task_named(settings.task, data_dir=settings.data_dir, **settings.variant)
        recipe = self.task.recipe
        self.batch = settings.batch or recipe.batch
        self.evaluation_set = self.task.open_evaluation(data_dir=settings.data_dir, device=self.device)
        self.batches = self._open_batches()
        self._epochs = settings.epochs or recipe.epochs
        self.total_steps = settings.max_steps or max(1, round(self._epochs * self.batches.steps_per_epoch))
        self.model = self.task.build_model(settings.seed).to(self.device)
        self.parameters = sum(parameter.numel() for parameter in self.model.parameters())
        threads = settings.threads or (1 if self.parameters < SMALL_MODEL else None)
        if threads is not None:
            torch.set_num_threads(threads)
        self._learning_rate = settings.learning_rate or recipe.learning_rate_for(self.batch)
        self.optimizer = self.task.build_optimizer(self.model, learning_rate=self._learning_rate)
        self.schedule = self.task.build_schedule(self.optimizer, total_steps=self.total_steps)
        self.statistics = FixedStatistics([self.model], share=settings.fix_statistics, total_steps=self.total_steps)
        self.precision = MixedPrecision(self.device, settings.precision)

    @property
    def run_name(self) -> str:
        """The name that the peers of the run share."""
        return self._given.train.run or self.task.name

    @property
    def usual(self) -> dict[str, Any]:
        """What holds for the task where nothing is said, by table and field of the setting."""
        recipe = self.task.recipe
        return {
            **{f"gossip.{name}": value for name, value in asdict(self._usual_rounds).items()},
            "train.batch": recipe.batch,
            "train.epochs": recipe.epochs,
            "train.learning_rate": recipe.learning_rate_for(self.batch),
        }

    @property
    def _usual_rounds(self) -> Usual:
        recipe = self.task.recipe
        return Usual(recipe.every_steps, recipe.strategy)

    @property
    def damaged(self) -> tuple[str, ...]:
        """Paths of data files that could not be read so far, and were passed over."""
        return (*self.batches.damaged, *self.evaluation_set.damaged)

    @property
    def gossip_settings(self) -> GossipSettings:
        """Those that were given, with the pace and the strategy of the task where none was."""
        return settled(self._given.gossip, self._usual_rounds)

    @property
    def resolved(self) -> dict[str, Settings]:
        """All settings by the name of their table, with what the task's recipe says where nothing else was said."""
        settings = self._given.train
        epochs = self._epochs if settings.max_steps is None else None
        train = {"batch": self.batch, "learning_rate": self._learning_rate, "epochs": epochs}
        return {
            "train": settings.model_copy(update=train),
            "gossip": self.gossip_settings,
            "network": self._given.network,
        }

    @property
    def recipe(self) -> Recipe:
        """What newcomers are told of how this peer trains."""
        resolved = self.resolved
        names = (name.split(".") for name in self._given.recipe_settings)
        values = {f"{table}.{field}": getattr(resolved[table], field) for table, field in names}
        return Recipe(
            task=self.task.name,
            variant=dict(self._given.train.variant),
            settings={name: value for name, value in values.items() if value is not None},
        )

    def swarm(self, resumed: TrainingState, *, on_ready: Callable[[Gossip], None]) -> Gossip:
        """The membership of the trainer, to be entered. resumed: where an earlier run has ended."""
        given, folder = self._given, self._given.folder
        kept = {
            "identity_path": given.network.identity_path or str(folder.identity),
            "membership_path": given.network.membership_path or str(folder.membership),
            "peers_path": str(folder.peers),
        }
        swarm = gossip(
            self.model,
            self.optimizer,
            run=self.run_name,
            task=self.task.description,
            settings=self.gossip_settings,
            network=given.network.model_copy(update=kept),
            join=given.join,
            samples_per_step=self.batch,
            on_event=given.bus.emit,
            on_ready=on_ready,
        )
        swarm.tell_recipe(self.recipe)
        swarm.load_state_dict({"step": resumed.step, "outer": resumed.outer, "round_counts": resumed.round_counts})
        return swarm

    def started(self, swarm: Gossip | None) -> events.Started:
        """What is told of a peer that is up. swarm: None where it trains alone."""
        return events.Started(
            peer_id=swarm.peer_id if swarm else "alone",
            run=self.run_name,
            task=self.task.description,
            addresses=swarm.addresses if swarm else (),
            device=f"{self.device} {self.precision.precision}",
            parameters=self.parameters,
            samples=self.batches.samples,
            first=swarm is None or not swarm.network.joins,
            steps=self.total_steps,
            max_seconds=self._given.train.max_seconds,
            called=" ".join(filter(None, (self.task.name, self.task.variant.get("model")))),
        )

    def close(self) -> None:
        """Ends what reads data in the background."""
        self.batches.close()
        self.evaluation_set.close()

    def _open_batches(self) -> TrainingBatches:
        settings = self._given.train
        seed = settings.seed
        if not settings.alone:
            path = self._given.network.identity_path or self._given.folder.identity
            with Identity.load_or_create(path) as identity:
                seed = seed_from("identity", identity.peer_id)
        share = Share.parse(settings.share, identity_seed=seed)
        return self.task.open_training(data_dir=settings.data_dir, share=share, batch=self.batch, device=self.device)
