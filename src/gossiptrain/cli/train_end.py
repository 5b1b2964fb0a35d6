"""What is left of a run when its command ends: whether the model is where it belongs, and what can be done with it.

Owns what is said then, and what of a folder is removed where a peer has not begun. Does not know how runs go.
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from gossiptrain.errors import CheckpointNotSavedError
from gossiptrain.events import Event, Finished, NodeChanged, Notice, PeerChanged, Started, event_from_json
from gossiptrain.training.bus import EventBus
from gossiptrain.training.runs.folder import RunFolder


class End:
    """The end of a run, as the bus tells it."""

    def __init__(self, bus: EventBus) -> None:
        self._finished: Finished | None = None
        bus.subscribe(self._hear, name="the end of the run")

    def _hear(self, event: Event) -> None:
        if isinstance(event, Finished):
            self._finished = event

    def check_saved(self, folder: RunFolder) -> None:
        """Raises CheckpointNotSavedError where a run has ended and what was learnt is not in its folder."""
        finished = self._finished
        if finished is None:
            return
        if finished.saved_in is None:
            raise CheckpointNotSavedError(
                f"THE MODEL WAS NOT SAVED: the last checkpoint could not be written to {folder.checkpoints}.",
                cause="The disk is full or gone, as the warning above says; the folder for temporary files did not "
                "take it either. What was learnt since the checkpoint before, if there is one, is lost.",
                remedy="Free some space, and continue from there with --resume, or with another folder, --out.",
            )
        if not Path(finished.saved_in).is_relative_to(folder.path):
            raise CheckpointNotSavedError(
                f"The model was not saved in {folder.path}, but in {finished.saved_in}.",
                cause="The disk of the run folder is full or gone, as the warning above says.",
                remedy="Move it to a place that is kept: what is there may be removed when the computer starts again.",
            )


def what_next(folder: Path, *, task: str) -> str:
    """Where the run is, and the commands that most people need then."""
    where = shlex.quote(str(folder))
    commands = [f"gossip sample {where}"] if task == "text" else []
    commands += [f"gossip eval {where}", f"gossip export {where} --to model.safetensors"]
    return f"saved in {folder}; next: {', '.join(commands[:-1])}, or {commands[-1]}"


def forget_unless_started(folder: RunFolder, *, new: bool) -> None:
    """Removes what would stand in the way of a second try where the peer has not begun. new: the folder is so too."""
    if _has_trained(folder) or folder.summary.exists() or any(folder.checkpoints.iterdir()):
        return
    folder.metrics.unlink(missing_ok=True)
    folder.config.unlink(missing_ok=True)
    if new:
        shutil.rmtree(folder.path, ignore_errors=True)


def _has_trained(folder: RunFolder) -> bool:
    """Whether anything was told that comes only after the swarm was met."""
    if not folder.metrics.exists():
        return False
    with folder.metrics.open("rb") as lines:
        return any(
            not isinstance(event_from_json(line), Started | NodeChanged | Notice | PeerChanged) for line in lines
        )
