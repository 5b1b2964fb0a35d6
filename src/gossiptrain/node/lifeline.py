"""That a process ends with its parent, however the parent ends.

Owns the kernel's parent-death signal. Does not know why processes are started.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int) -> None:
    """Has the kernel kill this process when its parent dies, even while it is stopped. Linux only.

    Elsewhere the end of the control connection has to do, which a stopped process does not notice.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        # The parent died before the call above took effect.
        os._exit(1)
