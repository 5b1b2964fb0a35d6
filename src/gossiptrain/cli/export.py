"""`gossip export`: the model of a checkpoint as one safetensors file, for use anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gossiptrain.cli.evaluate import load_all
from gossiptrain.errors import UsageError

PICKLED = (".pt", ".pth", ".ckpt", ".bin")
"""How files are called that hold pickled objects."""


def export(
    checkpoint: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Run folders or checkpoints; several are merged first.")
    ],
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The file to write, for example model.safetensors.")],
) -> None:
    """Writes the model of a run's last checkpoint, or the mean of several runs' models.

    Example:  gossip export runs/digits-20261122-153012-3f9a --to model.safetensors
    """
    if to.suffix.lower() in PICKLED:
        raise UsageError(
            f"{to.name} would be read with torch.load, and a model is written as safetensors.",
            remedy=f"Name it {to.with_suffix('.safetensors').name}; safetensors.torch.load_file reads it.",
        )
    from safetensors.torch import save

    from gossiptrain.training.runs.merging import merge
    from gossiptrain.training.runs.whole_files import write_whole

    loaded = load_all(checkpoint)
    merged = merge([each.model_state() for each in loaded])
    state = loaded[0].state
    metadata = {"task": state.task, "description": state.fingerprint, "step": str(state.step),
                "variant": json.dumps(dict(state.extra.get("variant", {})))}  # fmt: skip
    try:
        write_whole(to, save({name: tensor.contiguous().clone() for name, tensor in merged.state.items()}, metadata))
    except OSError as error:
        raise UsageError(
            f"The file {to} cannot be written: {error.strerror}.", remedy="Choose a place that you may write to."
        ) from error
    typer.echo(f"{len(merged.state)} tensors of step {state.step} written to {to}")
