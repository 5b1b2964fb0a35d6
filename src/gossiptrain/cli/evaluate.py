"""`gossip eval`: loss and accuracy of a trained model on held-out data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gossiptrain.cli import options
from gossiptrain.cli.flags import Given, with_flags
from gossiptrain.errors import CheckpointMismatchError, UsageError

if TYPE_CHECKING:
    from gossiptrain.training.saved_model import SavedModel


EVALUATE_FLAGS = (options.DATA_DIR, options.DEVICE, options.REPORT)


@with_flags(*EVALUATE_FLAGS)
def evaluate(
    saved: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="Run folders, checkpoints or exported models; several are merged first."),
    ],
    **values: Any,
) -> None:
    """Evaluates a run's last checkpoint, or the mean of several runs' checkpoints.

    Example:  gossip eval runs/digits-20261122-153012-3f9a
    """
    from gossiptrain.training.compute import chosen_device
    from gossiptrain.training.runs.merging import merge

    given = Given(EVALUATE_FLAGS, values)
    data_dir, report = given[options.DATA_DIR], given[options.REPORT]
    loaded = load_all(saved)
    merged = merge([each.tensors for each in loaded])
    first = replace(loaded[0], tensors=merged.state)
    task = first.checked_task(data_dir=data_dir)
    target = chosen_device(given[options.DEVICE] or "auto")
    model = first.build(task).to(target)
    found = task.open_evaluation(data_dir=data_dir, device=target).evaluate(model)
    result = {
        "task": task.description,
        "step": first.step,
        "loss": found.loss,
        "accuracy": found.accuracy,
        "samples": found.samples,
        "checkpoints": len(loaded),
        "disagreement": merged.disagreement,
    }
    typer.echo(f"{task.name} at step {first.step}: accuracy {found.accuracy:.2%}, loss {found.loss:.4f}")
    if len(loaded) > 1:
        typer.echo(f"merged from {len(loaded)} checkpoints, which disagree by {merged.disagreement:.3%}")
    if report is not None:
        write_report(report, result)


def load_all(paths: list[Path]) -> list[SavedModel]:
    """The models at the paths, of run folders those of the newest undamaged checkpoints, all of one task and model.

    Raises CheckpointError.
    """
    from gossiptrain.training.saved_model import load_saved

    loaded = [load_saved(path, report=lambda text: typer.echo(text, err=True)) for path in paths]
    first = loaded[0]
    for other in loaded[1:]:
        if other.fingerprint != first.fingerprint:
            raise CheckpointMismatchError(
                f"{first.path} is of {first.fingerprint!r} and {other.path} of {other.fingerprint!r}.",
                remedy="Merge checkpoints of one run only.",
            )
    return loaded


def write_report(path: Path, result: dict[str, object]) -> None:
    """Writes one JSON object. Raises UsageError where the file cannot be written."""
    from gossiptrain.training.runs.whole_files import write_whole

    try:
        write_whole(path, json.dumps(result, indent=2).encode() + b"\n")
    except OSError as error:
        raise UsageError(f"The report {path} cannot be written: {error.strerror}.") from error
