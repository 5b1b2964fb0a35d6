"""`python -m gossiptrain.node`: started by the trainer's handle, never by hand."""

from __future__ import annotations

import logging

from gossiptrain import logs
from gossiptrain.errors import UsageError
from gossiptrain.net import trace
from gossiptrain.node.life import main

try:
    logs.start()
except UsageError as error:  # Whoever began the trainer in a program of their own has not been told yet.
    logs.start(logs.USUAL)
    logging.getLogger(__package__).warning("%s %s", error.what, error.remedy)
trace.start_as_told()
main()
