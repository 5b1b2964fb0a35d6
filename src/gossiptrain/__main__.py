"""`python -m gossiptrain`, and the command `gossip`: what runs before anything is imported that takes time.

Owns that Ctrl+C in these first moments ends the program quietly.
"""

from __future__ import annotations

import sys

EXIT_INTERRUPTED = 130


def main() -> None:
    """Runs one command and exits with its code."""
    try:
        from gossiptrain.cli.main import main as run
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    run()


if __name__ == "__main__":
    main()
