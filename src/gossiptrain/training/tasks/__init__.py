"""The tasks of the command line: what is learnt, from which data, by which recipe.

    task.py          what every task answers               recipe.py        optimizer and learning rate over time
    sampling.py      which samples a peer sees, and when    batches.py       the stream of training batches
    evaluation.py    loss and accuracy on held-out data     locate.py        where data sets are looked for
    digits.py        8x8 digits, inside scikit-learn
    cifar10.py       convnet.py, augment.py, cifar_arrays.py, cifar_files.py (official folder), cifar_hub.py (download)
    imagenet.py      resnet.py, class_folders.py, images.py, image_batches.py
    text.py          transformer.py, text_file.py, text_batches.py, text_writing.py

Knows nothing of peers, rounds and the network. Torch is imported only when a task is built.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossiptrain.errors import UsageError
from gossiptrain.wrong_values import one_of

if TYPE_CHECKING:
    from gossiptrain.training.tasks.task import Task

TASK_NAMES = ("digits", "cifar10", "imagenet", "text")


def task_named(name: str, *, data_dir: Path | None = None, **variant: Any) -> Task:
    """The task `name`, in the given variant; `task_named(task.name, **task.variant)` builds the same task again.

    digits has no variants. cifar10 and text take `model` ("small", "tiny"). imagenet takes `model` ("resnet18",
    "resnet50"), `image_size` (pixels) and `classes`, `class_digest`; where those two are absent, the class folders
    under `data_dir` (or in the usual places, see `locate`) are counted.
    Raises UsageError for an unknown name or variant; DataMissingError or DataCorruptError where the class folders of
    imagenet are needed and not usable.
    """
    if name == "imagenet":
        from gossiptrain.training.tasks.imagenet import imagenet_task

        _refuse_unknown(name, variant, known=("model", "image_size", "classes", "class_digest"))
        return imagenet_task(data_dir=data_dir, **variant)
    if name == "text":
        from gossiptrain.training.tasks.text import TextTask

        _refuse_unknown(name, variant, known=("model",))
        return TextTask(**variant)
    if name == "cifar10":
        from gossiptrain.training.tasks.cifar10 import Cifar10Task

        _refuse_unknown(name, variant, known=("model",))
        return Cifar10Task(**variant)
    _refuse_unknown(name, variant, known=())
    if name == "digits":
        from gossiptrain.training.tasks.digits import DigitsTask

        return DigitsTask()
    raise UsageError(f"There is no task {name!r}.", remedy=one_of(name, TASK_NAMES))


def _refuse_unknown(name: str, variant: dict[str, Any], *, known: tuple[str, ...]) -> None:
    unknown = sorted(set(variant) - set(known))
    if unknown and name in TASK_NAMES:
        remedy = f"It takes: {', '.join(known)}." if known else "It has no variants."
        raise UsageError(f"The task {name} has no setting {', '.join(unknown)}.", remedy=remedy)
