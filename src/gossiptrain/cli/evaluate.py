"""`gossip eval`: loss and accuracy of a checkpoint on held-out data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gossiptrain.cli import options
from gossiptrain.cli.flags import Given, with_flags
from gossiptrain.errors import CheckpointMismatchError, UsageError

if TYPE_CHECKING:
    from gossiptrain.training.runs.checkpoint_state import Checkpoint


EVALUATE_FLAGS = (options.DATA_DIR, options.DEVICE, options.REPORT)


@with_flags(*EVALUATE_FLAGS)
def evaluate(
    checkpoint: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Run folders or checkpoints; several are merged first.")
    ],
    **values: Any,
) -> None:
    """Evaluates a run's last checkpoint, or the mean of several runs' checkpoints.

    Example:  gossip eval runs/digits-20261122-153012-3f9a
    """
    from gossiptrain.training.compute import chosen_device
    from gossiptrain.training.runs.merging import merge
    from gossiptrain.training.tasks import task_named

    given = Given(EVALUATE_FLAGS, values)
    data_dir, report = given[options.DATA_DIR], given[options.REPORT]
    loaded = load_all(checkpoint)
    state, merged = loaded[0].state, merge([each.model_state() for each in loaded])
    task = task_named(state.task, data_dir=data_dir, **dict(state.extra.get("variant", {})))
    target = chosen_device(given[options.DEVICE] or "auto")
    model = task.build_model(seed=0)
    # Checks that the checkpoint is of this very model, which its tensors alone do not tell.
    loaded[0].apply(model, fingerprint=task.description, random_states=False)
    model.load_state_dict(merged.state)
    model.to(target)
    found = task.open_evaluation(data_dir=data_dir, device=target).evaluate(model)
    result = {
        "task": task.description,
        "step": state.step,
        "loss": found.loss,
        "accuracy": found.accuracy,
        "samples": found.samples,
        "checkpoints": len(loaded),
        "disagreement": merged.disagreement,
    }
    typer.echo(f"{task.name} at step {state.step}: accuracy {found.accuracy:.2%}, loss {found.loss:.4f}")
    if len(loaded) > 1:
        typer.echo(f"merged from {len(loaded)} checkpoints, which disagree by {merged.disagreement:.3%}")
    if report is not None:
        write_report(report, result)


def load_all(paths: list[Path]) -> list[Checkpoint]:
    """The newest undamaged checkpoint of each path, all of one task and model. Raises CheckpointError."""
    from gossiptrain.training.runs.checkpoints import load_checkpoint

    loaded = [load_checkpoint(path, report=lambda text: typer.echo(text, err=True)) for path in paths]
    first = loaded[0]
    for other in loaded[1:]:
        if other.state.fingerprint != first.state.fingerprint:
            raise CheckpointMismatchError(
                f"{first.path} is of {first.state.fingerprint!r} and {other.path} of {other.state.fingerprint!r}.",
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
