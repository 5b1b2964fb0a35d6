"""`python -m gossiptrain.node`: started by the trainer's handle, never by hand."""

from __future__ import annotations

from gossiptrain.node.process import main

main()
