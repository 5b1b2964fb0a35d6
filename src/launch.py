"""Starts `gossip train` for the scripts beside this file, with the project's own Python where there is one."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path


def train(task: str) -> None:
    """Trains `task` with the arguments of the command line."""
    own_python = Path(__file__).parents[1] / ".venv" / "bin" / "python"
    if importlib.util.find_spec("hivemind") is None and own_python.exists():
        # The environment that `make setup` made, although it has not been activated in this terminal.
        os.execv(own_python, [str(own_python), *sys.argv])  # noqa: S606 - this program, with its own arguments
    try:
        from gossiptrain.cli.main import main
    except ModuleNotFoundError as error:
        sys.exit(
            f"Error: The package {error.name} is not installed, and there is no .venv beside this program.\n"
            f"  Run this once: make -C {own_python.parents[2]} setup"
        )

    main(["train", task, *sys.argv[1:]])
