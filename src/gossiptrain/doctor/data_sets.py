"""Whether the data of a task are there and are what they should be.

Owns which data sets are looked for. The checks themselves are those that `gossip train` makes; downloads are left to
it. Does not know models.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gossiptrain.doctor.finding import Finding, fault_of, ok
from gossiptrain.errors import DataError, DataMissingError
from gossiptrain.training.tasks.cifar_files import FOLDER as CIFAR_FOLDER
from gossiptrain.training.tasks.cifar_files import is_cifar_folder, read_folder
from gossiptrain.training.tasks.class_folders import FOLDER_NAMES, is_class_tree, read_class_folders
from gossiptrain.training.tasks.locate import data_root, find_folder
from gossiptrain.training.tasks.text_file import load_text


def check_data(task: str | None, data_dir: Path | None) -> list[Finding]:
    """The data of `task`; of all tasks where that is None, as far as they are in the folder that is named."""
    try:
        root = data_root(data_dir)
        if task == "digits" or (root is None and task == "cifar10"):
            return [ok("data", _NOTHING_NAMED)]
        if task is None and root is None:
            return [ok("data", _NOTHING_NAMED)]
        return [_checked(name, root, must_be_there=task is not None) for name in ([task] if task else _CHECKS)]
    except DataError as error:
        return [fault_of("data", error)]


_NOTHING_NAMED = "digits come with the package, and CIFAR-10 is downloaded when it is first trained on."


def _checked(task: str, root: Path | None, *, must_be_there: bool) -> Finding:
    name = f"data: {task}"
    try:
        return ok(name, _CHECKS[task](root))
    except DataMissingError as error:
        if must_be_there or "incomplete" in error.what:
            return fault_of(name, error)
        return ok(name, f"None in {root}.")
    except DataError as error:
        return fault_of(name, error)


def _cifar10(root: Path | None) -> str:
    folder = find_folder(root, [CIFAR_FOLDER], is_it=is_cifar_folder) if root else None
    if folder is None:
        return f"CIFAR-10 is not in {root}, and is downloaded when it is first trained on."
    images = sum(len(read_folder(folder, split).labels) for split in ("train", "test"))
    return f"{images:,} images in {folder}, as they were published."


def _imagenet(root: Path | None) -> str:
    folder = find_folder(root, FOLDER_NAMES, is_it=is_class_tree) if root else None
    if folder is None:
        raise DataMissingError(
            f"There are no class folders in {root or 'any folder that was named'}.",
            cause="Looked for a folder train with one folder for each class, and val beside it.",
            remedy="Name the folder that holds them with --data-dir.",
        )
    return f"{read_class_folders(folder).class_set.count:,} classes in {folder}; the images are not opened."


def _text(root: Path | None) -> str:
    text = load_text(root)
    return f"{len(text.training) + len(text.validation):,} characters in {root}."


_CHECKS: dict[str, Callable[[Path | None], str]] = {"cifar10": _cifar10, "imagenet": _imagenet, "text": _text}
