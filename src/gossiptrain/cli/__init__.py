"""Floor 5: the commands. Parses, prints, exits; all work is done on the floors below."""

from __future__ import annotations

import os

# Must be set before torch is imported. Threads that wait for each other by spinning take the cores from the other
# peers of this computer, and from the node beside this one.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
