"""The flags of `gossip simulate swarm`, in the order in which `--help` shows them.

Owns this table.
"""

from __future__ import annotations

from pathlib import Path

from gossiptrain.cli import options
from gossiptrain.cli.flags import Flag
from gossiptrain.cli.options import GOSSIP

FAULTS_PANEL, SEEDS_PANEL, OUTPUT = "Faults", "Seeds", "Output"

FAULTS = Flag(
    ("--faults",),
    str,
    "all, none, or which, each with a weight if wanted, as in crash:3,freeze,cut. There are crash, freeze, cut, "
    "one-way, latency, loss, reset, reorder, skew, slow, flood, lie",
    panel=FAULTS_PANEL,
    default="all",
)
ONLY_FAULTS = Flag(
    ("--only-faults",),
    str,
    "Of the faults of the plan only those with these numbers, as in 3,7; or none (all of them)",
    panel=FAULTS_PANEL,
    metavar="NUMBERS",
)
PLAN = Flag(("--plan",), bool, "Show the faults of the first seed, and run nothing.", panel=FAULTS_PANEL, default=False)
SEED = Flag(("--seed",), int, "The first one.", panel=SEEDS_PANEL, default=0, lowest=0)
SEEDS = Flag(("--seeds",), int, "How many, one after the other.", panel=SEEDS_PANEL, default=1, lowest=1)
PROCESSES = Flag(
    ("--processes",), int, "Seeds that run at the same time (as many as cores)", panel=SEEDS_PANEL, lowest=1
)
SHRINK = Flag(
    ("--shrink/--no-shrink",), bool, "Find the fewest faults with which a seed fails.", panel=SEEDS_PANEL, default=True
)
REPORT = Flag(("--json", "--report"), Path, "Write everything as JSON.", panel=OUTPUT, metavar="FILE")
PICTURE = Flag(("--picture",), Path, "Draw the first seed: .png, .svg or .pdf", panel=OUTPUT, metavar="FILE")

SWARM_FLAGS = (
    Flag(("--peers",), int, "How many, 2-2000 (16)", fills="swarm.peers"),
    Flag(("--seconds",), float, "Virtual seconds in which faults happen (120)", fills="swarm.seconds"),
    options.PRESET.into("swarm"),
    Flag(("--group-size",), int, "Most peers that average together, 2-64 (16)", fills="swarm.group_size", panel=GOSSIP),
    Flag(("--every-seconds",), float, "Virtual time between two rounds (5)", fills="swarm.every_seconds", panel=GOSSIP),
    Flag(("--private",), bool, "Let the swarm be a private one.", fills="swarm.private", default=False),
    FAULTS,
    Flag(
        ("--faults-per-minute",),
        float,
        "How many in a virtual minute (6)",
        fills="swarm.faults_per_minute",
        panel=FAULTS_PANEL,
    ),
    ONLY_FAULTS,
    PLAN,
    SEED,
    SEEDS,
    PROCESSES,
    SHRINK,
    REPORT,
    PICTURE,
)
