"""Where data sets are looked for.

Owns the order of places: `--data-dir`, else the folder that the environment variable GOSSIPTRAIN_DATA names, else the
cache of this user. Does not know what a data set looks like inside.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from platformdirs import user_cache_path

from gossiptrain.errors import DataMissingError

DATA_VARIABLE = "GOSSIPTRAIN_DATA"


def named_path(data_dir: Path | None) -> Path | None:
    """What the user named, by argument or environment, be it a folder or not; None where neither did."""
    named = data_dir or os.environ.get(DATA_VARIABLE) or None
    return Path(named).expanduser() if named is not None else None


def data_root(data_dir: Path | None) -> Path | None:
    """The folder that the user named, by argument or environment; None where neither did.

    Raises DataMissingError where the named folder does not exist.
    """
    root = named_path(data_dir)
    if root is not None and not root.is_dir():
        said_by = "--data-dir" if data_dir else f"The environment variable {DATA_VARIABLE}"
        raise DataMissingError(
            f"There is no folder {root}.", cause=f"{said_by} names it.", remedy="Name a folder that holds the data."
        )
    return root


def find_folder(root: Path, names: Sequence[str], *, is_it: Callable[[Path], bool]) -> Path | None:
    """The first of `root` itself and its subfolders `names` that `is_it` accepts."""
    return next((folder for folder in (root, *(root / name for name in names)) if is_it(folder)), None)


def cache_folder(task: str) -> Path:
    """Where downloads of `task` are kept; made where it is missing. Raises DataMissingError where that fails."""
    folder = user_cache_path("gossiptrain", appauthor=False) / task
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataMissingError(
            f"The cache folder {folder} cannot be made: {error}.", remedy="Name a folder with --data-dir."
        ) from error
    return folder
