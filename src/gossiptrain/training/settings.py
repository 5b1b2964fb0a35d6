"""What the trainer of the command line is told: task, length of the run, what is kept.

Owns names, defaults and ranges. Does not know gossip, which has settings of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from gossiptrain.config import PositiveSeconds, Settings

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Count = Annotated[int, Field(ge=1, le=2**40)]


class TrainSettings(Settings):
    """One peer's training. None: what the task's recipe says."""

    alternatives = (frozenset({"max_steps", "epochs"}),)

    task: str
    variant: dict[str, str | int] = Field(default_factory=dict)
    run: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Name of the run; peers of one swarm share it. None: the name of the task."""
    alone: bool = False
    """Plain training without a network, for comparison."""
    data_dir: Path | None = None
    share: str | None = None
    """Part of the training data that this peer sees, such as `2/4`. None: all, in an order of its own."""
    batch: Annotated[int, Field(ge=1, le=65_536)] | None = None
    epochs: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] | None = None
    learning_rate: Annotated[float, Field(gt=0, le=1e3, allow_inf_nan=False)] | None = None
    fix_statistics: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of all steps after which batch normalisation goes by its running statistics. None: never."""
    max_steps: Count | None = None
    """Ends the run after so many inner steps, counted on from the donor's; overrides `epochs`."""
    max_seconds: PositiveSeconds | None = None
    """Ends the run after so many seconds of training."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seeds the first peer's parameters, and the order of the data where the peer has no identity."""
    device: str = "auto"
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    precision: Precision = "auto"
    wait_for: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Training begins once so many peers are there, this one included."""
    eval_every: Annotated[int, Field(ge=0, le=2**40)] | None = None
    """Inner steps between two evaluations; 0: only at the end. None: once an epoch, but not within 500 steps."""
    checkpoint_every: PositiveSeconds = 120.0
    """Seconds between two checkpoints; one more is saved at the end."""
