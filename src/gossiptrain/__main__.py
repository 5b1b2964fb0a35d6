"""`python -m gossiptrain`: the command `gossip`, for a Python whose folder of commands is not on the path.

Owns nothing but that name.
"""

from __future__ import annotations

from gossiptrain.cli.main import main

if __name__ == "__main__":
    main()
