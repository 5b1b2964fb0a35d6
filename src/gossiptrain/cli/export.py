"""`gossip export`: the model of a checkpoint as a safetensors file, and beside it what it is, for use anywhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from gossiptrain.cli.evaluate import load_all
from gossiptrain.errors import UsageError

PICKLED = (".pt", ".pth", ".ckpt", ".bin")
"""How files are called that hold pickled objects."""


def export(
    saved: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Run folders or checkpoints; several are merged first.")
    ],
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The file to write, for example model.safetensors.")],
) -> None:
    """Writes the model of a run's last checkpoint, or the mean of several runs' models.

    What the model is stands in a file of JSON beside it; gossiptrain.load_model(FILE) builds it again.

    Example:  gossip export runs/digits-20261122-153012-3f9a --to model.safetensors
    """
    if to.suffix.lower() in PICKLED:
        raise UsageError(
            f"{to.name} would be read with torch.load, and a model is written as safetensors.",
            remedy=f"Name it {to.with_suffix('.safetensors').name}; gossiptrain.load_model reads it.",
        )
    from gossiptrain.training.runs.exported import write_export
    from gossiptrain.training.runs.merging import merge

    loaded = load_all(saved)
    merged = merge([each.tensors for each in loaded])
    model = replace(loaded[0], tensors=merged.state)
    try:
        beside = write_export(to, model.tensors, model.describe())
    except OSError as error:
        raise UsageError(
            f"The file {to} cannot be written: {error.strerror}.", remedy="Choose a place that you may write to."
        ) from error
    typer.echo(f"{len(merged.state)} tensors of step {model.step} written to {to}, and what they are to {beside}")
    typer.echo(f"in Python: model = gossiptrain.load_model({str(to)!r})")
