"""How the node's process ends."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

WITHOUT_MEMORY = """
from gossiptrain.node import __main__ as node

async def live(*_):
    bytearray(2**50)

node._live = live
node.main()
"""


def test_a_node_for_which_there_is_no_more_memory_says_so_in_one_line() -> None:
    ours, its = socket.socketpair()
    with ours, its:
        command = [sys.executable, "-c", WITHOUT_MEMORY, str(os.getpid()), str(its.fileno()), "0"]
        done = subprocess.run(command, pass_fds=[its.fileno()], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "the node ends: there is no more memory for it\n"
