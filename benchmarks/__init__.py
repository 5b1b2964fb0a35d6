"""Measurements behind the figures in the documents: one script per claim, each prints a table and writes JSON."""

from __future__ import annotations

import os

# As the command line does, and before torch is imported: threads that wait for each other by spinning would measure
# how busy the computer is.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
