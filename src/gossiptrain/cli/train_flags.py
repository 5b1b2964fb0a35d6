"""The flags of `gossip train`, in the order in which `--help` shows them.

Owns this table. A new setting is one more row here, a field of the settings, and a row in docs/settings.md.
"""

from __future__ import annotations

from pathlib import Path

from gossiptrain.cli import options
from gossiptrain.cli.flags import Flag
from gossiptrain.cli.options import GOSSIP
from gossiptrain.cli.paging import PAGE

OUT = Flag(("--out",), Path, "The run folder (runs/<id>)", metavar="DIR")
RESUME = Flag(("--resume",), Path, "Continue the run in this folder, with its settings.", metavar="DIR")
CONFIG = Flag(("--config",), Path, "Settings as in a run's config.toml; flags go before it.", metavar="FILE")
TRACE = Flag(
    ("--trace",),
    Path,
    "Write each message to and from other peers as a line of JSON, without tensors.",
    metavar="FILE",
)

NETWORK_FLAGS = (
    options.JOIN,
    *options.MEETING,
    options.OPEN,
    options.LOCAL_NETWORK,
    Flag(
        ("--direct", "--lane"),
        str,
        "How parameters travel: directly where that is possible (auto)",
        fills="network.direct",
        metavar="auto|direct|libp2p",
    ),
    options.DIRECT_PORT,
)

GOSSIP_FLAGS = (
    Flag(
        ("--gossip-group-size",),
        int,
        "Most peers that average together, 2-64 (16)",
        fills="gossip.gossip_group_size",
        panel=GOSSIP,
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
        "Share of the average that is taken, 0.1-1.0 (1.0)",
        fills="gossip.gossip_alpha",
        panel=GOSSIP,
    ),
    Flag(
        ("--strategy",),
        str,
        "What is sent and what becomes of the average; the same for all (by task)",
        fills="gossip.strategy",
        panel=GOSSIP,
        metavar="average|step-mix|diloco|noloco|sync",
        equal_for_all=True,
    ),
    Flag(
        ("--outer-lr", "--outer-learning-rate"),
        float,
        "Of the outer step (by strategy)",
        fills="gossip.outer_learning_rate",
        panel=GOSSIP,
        equal_for_all=True,
    ),
    Flag(
        ("--outer-momentum",),
        float,
        "Of the outer step (by strategy)",
        fills="gossip.outer_momentum",
        panel=GOSSIP,
        equal_for_all=True,
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
    ),
    Flag(
        ("--fragments",),
        int,
        "Parts of the model of which a round carries one, in turn (by size)",
        fills="gossip.fragments",
        panel=GOSSIP,
        equal_for_all=True,
    ),
    options.EVERY_STEPS,
    Flag(("--every-seconds",), float, "Seconds between rounds, instead.", fills="gossip.every_seconds", panel=GOSSIP),
    Flag(
        ("--matchmaking-time", "--min-matchmaking-time"),
        float,
        "Longest wait for a straggler, in seconds (5)",
        fills="gossip.matchmaking_time",
        panel=GOSSIP,
    ),
    Flag(
        ("--ending-time",),
        float,
        "How long to wait at the end for others that end, too, in seconds (10)",
        fills="gossip.ending_time",
        panel=GOSSIP,
    ),
    Flag(
        ("--group-seed",),
        int,
        "Seeds the choice of groups; the same for all (0)",
        fills="gossip.seed",
        panel=GOSSIP,
        equal_for_all=True,
    ),
)

TRAINING_FLAGS = (
    options.DATA_DIR,
    Flag(
        ("--share",), str, "Train on part I of N of the data (all, in an own order)", fills="train.share", metavar="I/N"
    ),
    Flag(("--batch",), int, "Samples in one step (by task)", fills="train.batch"),
    Flag(("--epochs",), float, "Passes over the data (by task)", fills="train.epochs"),
    Flag(("--lr", "--learning-rate"), float, "Peak learning rate (by task)", fills="train.learning_rate"),
    Flag(("--max-steps",), int, "End after so many steps; goes before --epochs.", fills="train.max_steps"),
    Flag(("--max-seconds",), float, "End after so many seconds.", fills="train.max_seconds"),
    Flag(("--wait-for",), int, "Begin once so many peers are there, this one included (1)", fills="train.wait_for"),
    Flag(
        ("--eval-every",),
        int,
        "Steps between evaluations; 0: only at the end (once an epoch)",
        fills="train.eval_every",
    ),
    Flag(("--checkpoint-every",), float, "Seconds between checkpoints (120)", fills="train.checkpoint_every"),
    Flag(("--seed",), int, "Seeds the first peer's parameters (0)", fills="train.seed"),
    options.DEVICE,
    Flag(("--threads",), int, "CPU threads for training (torch's choice)", fills="train.threads"),
    Flag(("--precision",), str, "Mixed precision (auto)", fills="train.precision", metavar="auto|fp32|bf16|fp16"),
    Flag(
        ("--model",),
        str,
        "cifar10: small, tiny, vgg11; text: small, tiny; imagenet: resnet18, resnet50",
        fills="variant.model",
    ),
    Flag(("--image-size",), int, "imagenet: pixels a side (224)", fills="variant.image_size"),
    Flag(("--alone",), bool, "Plain training without a network, to compare.", fills="train.alone", default=False),
)

TRAIN_FLAGS = (
    *NETWORK_FLAGS,
    Flag(("--run",), str, "Name of the run, the same for all its peers (the task)", fills="train.run"),
    *GOSSIP_FLAGS,
    *TRAINING_FLAGS,
    OUT,
    RESUME,
    CONFIG,
    options.LOG_FORMAT,
    PAGE,
    options.LOG_LEVEL,
    TRACE,
)
