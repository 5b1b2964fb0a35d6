"""`python -m gossiptrain.cli.child_main PARENT_PID train digits ...`: `gossip` as a child that dies with its parent.

Owns that tie, and what spares a parent with several such children the seconds that torch takes to import: the commands
run one after another in one process, and an argument that is not known yet is read from standard input once everything
is imported. Started by `cli/child.py`, imported by nobody. Does not know what the commands do.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gossiptrain.cli.child import LATER, split_commands
from gossiptrain.node.lifeline import die_with_parent


def _completed(command: Sequence[str]) -> list[str]:
    return [_read_argument() if argument == LATER else argument for argument in command]


def _read_argument() -> str:
    line = sys.stdin.readline()
    if not line:
        sys.exit(1)  # There is nobody any more who could say it.
    return line.rstrip("\n")


def main() -> None:
    """Runs the commands in turn; the first that fails is the last, and its exit code is this process's."""
    die_with_parent(int(sys.argv[1]))
    # Not before the process is tied to its parent: these take seconds.
    import gossiptrain.training.tasks.digits
    import gossiptrain.training.trainer  # noqa: F401
    from gossiptrain.cli.main import main as run_command

    for command in split_commands(sys.argv[2:]):
        try:
            run_command(_completed(command))
        except SystemExit as end:
            if end.code:
                raise


if __name__ == "__main__":
    main()
