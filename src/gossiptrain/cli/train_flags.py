"""The flags of `gossip train`, in the order in which `--help` shows them.

Owns this table. A new setting is one more row here, a field of the settings, and a row in docs/settings.md.
"""

from __future__ import annotations

from pathlib import Path

from gossiptrain.cli import options
from gossiptrain.cli.flags import Flag
from gossiptrain.cli.help import HELP_ALL
from gossiptrain.cli.options import DATA, GOSSIP, NETWORK, OUTPUT, TRAINING
from gossiptrain.cli.paging import PAGE
from gossiptrain.cli.tracking import TRACKING_FLAGS

OUT = Flag(("--out",), Path, "The run folder (runs/<id>)", metavar="DIR", panel=OUTPUT)
RESUME = Flag(("--resume",), Path, "Continue the run in this folder", metavar="DIR", panel=OUTPUT)
CONFIG = Flag(
    ("--config",),
    Path,
    "Settings as in a run's config.toml; flags override them",
    metavar="FILE",
    panel=OUTPUT,
    rare=True,
)
TRACE = Flag(
    ("--trace",),
    Path,
    "Write each message to and from other peers as a line of JSON, without tensors",
    metavar="FILE",
    panel=OUTPUT,
    rare=True,
)

NETWORK_FLAGS = (
    options.JOIN,
    *options.MEETING,
    options.OPEN,
    options.LOCAL_NETWORK,
    Flag(
        ("--direct", "--lane"),
        str,
        "Over what parameters travel: directly where that is possible (auto)",
        fills="network.direct",
        metavar="auto|direct|libp2p",
        panel=NETWORK,
        rare=True,
    ),
    options.DIRECT_PORT,
    Flag(
        ("--upload-limit",),
        float,
        "Most Mbit/s to send, 2 or more (no limit)",
        fills="network.upload_limit",
        metavar="MBIT",
        panel=NETWORK,
        rare=True,
    ),
)

GOSSIP_FLAGS = (
    Flag(
        ("--gossip-group-size",),
        int,
        "Most peers that average together, 2-64 (16)",
        fills="gossip.gossip_group_size",
        panel=GOSSIP,
        of_recipe=True,
    ),
    Flag(
        ("--gossip-min-group-size",),
        int,
        "Fewest peers for a round, 2-16 (2)",
        fills="gossip.gossip_min_group_size",
        panel=GOSSIP,
        equal_for_all=True,
    ),
    options.GROUPING,
    Flag(
        ("--gossip-alpha",),
        float,
        "Share of an average that is taken, 0.1-1.0 (1.0)",
        fills="gossip.gossip_alpha",
        panel=GOSSIP,
        of_recipe=True,
    ),
    Flag(
        ("--strategy",),
        str,
        "What becomes of an average (by task)",
        fills="gossip.strategy",
        panel=GOSSIP,
        metavar="average|gradual|step-mix|diloco|noloco|sync",
        equal_for_all=True,
    ),
    Flag(
        ("--outer-lr", "--outer-learning-rate"),
        float,
        "Of the outer step (by strategy)",
        fills="gossip.outer_learning_rate",
        panel=GOSSIP,
        equal_for_all=True,
        rare=True,
    ),
    Flag(
        ("--outer-momentum",),
        float,
        "Of the outer step (by strategy)",
        fills="gossip.outer_momentum",
        panel=GOSSIP,
        equal_for_all=True,
        rare=True,
    ),
    Flag(
        ("--outer-immediate",),
        float,
        "Share of a round's learning in its own outer step (by strategy)",
        fills="gossip.outer_immediate",
        panel=GOSSIP,
        equal_for_all=True,
        rare=True,
    ),
    options.CODEC,
    Flag(
        ("--guard",),
        str,
        "What becomes of averages that are unusually far away; clip: for swarms open to strangers (off)",
        fills="gossip.guard",
        panel=GOSSIP,
        metavar="off|result|clip",
        equal_for_all=True,
        rare=True,
    ),
    Flag(
        ("--fragments",),
        int,
        "Parts of the model of which a round carries one, in turn (by size)",
        fills="gossip.fragments",
        panel=GOSSIP,
        equal_for_all=True,
        rare=True,
    ),
    options.EVERY_STEPS,
    Flag(
        ("--every-seconds",),
        float,
        "Seconds between rounds, instead",
        fills="gossip.every_seconds",
        panel=GOSSIP,
        of_recipe=True,
        rare=True,
    ),
    Flag(
        ("--matchmaking-time", "--min-matchmaking-time"),
        float,
        "Longest wait for a straggler, in seconds (5)",
        fills="gossip.matchmaking_time",
        panel=GOSSIP,
        rare=True,
        of_recipe=True,
    ),
    Flag(
        ("--ending-time",),
        float,
        "How long to wait at the end for others that end, too, in seconds (10)",
        fills="gossip.ending_time",
        panel=GOSSIP,
        rare=True,
        of_recipe=True,
    ),
    Flag(
        ("--group-seed",),
        int,
        "Seeds the choice of groups; the same for all (0)",
        fills="gossip.seed",
        panel=GOSSIP,
        equal_for_all=True,
        rare=True,
    ),
)

TRAINING_FLAGS = (
    options.DATA_DIR,
    Flag(
        ("--share",),
        str,
        "Train on part I of N of the data (all)",
        fills="train.share",
        metavar="I/N",
        panel=DATA,
    ),
    Flag(("--batch",), int, "Samples in one step (by task)", fills="train.batch", panel=TRAINING, of_recipe=True),
    Flag(("--epochs",), float, "Passes over the data (by task)", fills="train.epochs", panel=TRAINING, of_recipe=True),
    Flag(
        ("--lr", "--learning-rate"),
        float,
        "Peak learning rate (by task)",
        fills="train.learning_rate",
        panel=TRAINING,
        of_recipe=True,
    ),
    options.FIX_STATISTICS,
    Flag(
        ("--max-steps",),
        int,
        "End after so many steps; overrides --epochs",
        fills="train.max_steps",
        panel=TRAINING,
        rare=True,
        of_recipe=True,
    ),
    Flag(("--max-seconds",), float, "End after so many seconds", fills="train.max_seconds", panel=TRAINING),
    Flag(
        ("--wait-for",),
        int,
        "Begin once so many peers are there, this one included (1)",
        fills="train.wait_for",
        panel=TRAINING,
        rare=True,
    ),
    Flag(
        ("--eval-every",),
        int,
        "Steps between evaluations; 0: only at the end (once an epoch)",
        fills="train.eval_every",
        panel=TRAINING,
        rare=True,
    ),
    Flag(
        ("--checkpoint-every",),
        float,
        "Seconds between checkpoints (120)",
        fills="train.checkpoint_every",
        panel=TRAINING,
        rare=True,
    ),
    Flag(("--seed",), int, "Seeds the first peer's parameters (0)", fills="train.seed", panel=TRAINING, rare=True),
    options.DEVICE,
    Flag(
        ("--threads",),
        int,
        "CPU threads for training (torch's choice)",
        fills="train.threads",
        panel=TRAINING,
        rare=True,
    ),
    Flag(
        ("--precision",),
        str,
        "Mixed precision (auto)",
        fills="train.precision",
        metavar="auto|fp32|bf16|fp16",
        panel=TRAINING,
        rare=True,
    ),
    Flag(
        ("--model",),
        str,
        "small, tiny; cifar10: also with -groups, vgg11; text: nano; imagenet: resnet18, resnet50",
        fills="variant.model",
        panel=TRAINING,
    ),
    Flag(
        ("--image-size",), int, "imagenet: pixels a side (224)", fills="variant.image_size", panel=TRAINING, rare=True
    ),
    Flag(
        ("--alone",),
        bool,
        "Plain training without a network, to compare.",
        fills="train.alone",
        default=False,
        panel=TRAINING,
        rare=True,
    ),
)

TRAIN_FLAGS = (
    *NETWORK_FLAGS,
    Flag(
        ("--run",),
        str,
        "Name of the run, the same for all its peers (the task)",
        fills="train.run",
        panel=NETWORK,
        rare=True,
    ),
    *GOSSIP_FLAGS,
    *TRAINING_FLAGS,
    OUT,
    RESUME,
    CONFIG,
    *TRACKING_FLAGS,
    options.LOG_FORMAT,
    PAGE,
    options.LOG_LEVEL,
    TRACE,
    HELP_ALL,
)
