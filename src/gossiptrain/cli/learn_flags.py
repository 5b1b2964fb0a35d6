"""The flags of `gossip simulate learn`, in the order in which `--help` shows them.

Owns this table. What fills `outer` is about the outer step: in a comparison only strategies that have one take it.
"""

from __future__ import annotations

from pathlib import Path

from gossiptrain.cli import options
from gossiptrain.cli.flags import Flag
from gossiptrain.cli.options import GOSSIP

CONDITIONS, TRAINING, OUTPUT = "Conditions", "Training", "Output"

STRATEGY = Flag(
    ("--strategy",),
    list[str],
    "average, gradual, step-mix, diloco, noloco, sync; or alone, central to compare with. Repeatable (step-mix)",
    panel=GOSSIP,
    metavar="NAME",
)
MODEL = Flag(
    ("--model",), str, "cifar10: small, tiny, both with -groups, vgg11; text: small, tiny, nano", panel=TRAINING
)
SEED = Flag(("--seed",), int, "Seeds parameters, data, groups and conditions.", panel=TRAINING, default=0, lowest=0)
SEEDS = Flag(
    ("--seeds",), int, "How many seeds each strategy is run with.", panel=TRAINING, default=1, lowest=1, highest=1000
)
REPORT = Flag(("--report", "--json"), Path, "Write everything as JSON.", panel=OUTPUT, metavar="FILE")
PICTURE = Flag(("--picture",), Path, "Draw loss and disagreement: .png, .svg or .pdf", panel=OUTPUT, metavar="FILE")

LEARN_FLAGS = (
    Flag(("--peers",), int, "How many, 2-256 (8)", fills="learn.peers"),
    STRATEGY,
    options.EVERY_STEPS.into("learn"),
    Flag(("--group-size",), int, "Most peers that average together, 2-64 (16)", fills="learn.group_size", panel=GOSSIP),
    options.GROUPING.into("learn"),
    options.CODEC.into("learn"),
    Flag(("--alpha",), float, "Share of the average that is taken, 0.1-1.0 (1.0)", fills="learn.alpha", panel=GOSSIP),
    Flag(
        ("--outer-lr",),
        float,
        "Learning rate of the outer step (by strategy)",
        fills="outer.outer_learning_rate",
        panel=GOSSIP,
    ),
    Flag(
        ("--outer-momentum",),
        float,
        "Momentum of the outer step (by strategy)",
        fills="outer.outer_momentum",
        panel=GOSSIP,
    ),
    Flag(
        ("--outer-immediate",),
        float,
        "Share of a round's learning in its own outer step (by strategy)",
        fills="outer.outer_immediate",
        panel=GOSSIP,
    ),
    Flag(
        ("--non-iid",),
        float,
        "Deal classes unequally, the smaller the more so; cut a text into parts (all alike)",
        fills="learn.non_iid",
        panel=CONDITIONS,
        metavar="ALPHA",
    ),
    Flag(
        ("--absent",),
        float,
        "How often a peer misses a round, 0-0.95 (0)",
        fills="learn.absent",
        panel=CONDITIONS,
        metavar="SHARE",
    ),
    Flag(("--tries",), int, "How often a peer looks for others in a round (1)", fills="learn.tries", panel=CONDITIONS),
    Flag(
        ("--speeds",),
        float,
        "Fastest peer by slowest peer, 1-100 (1)",
        fills="learn.speeds",
        panel=CONDITIONS,
        metavar="SPREAD",
    ),
    Flag(
        ("--delay",),
        int,
        "Age of an average when it is taken (0)",
        fills="learn.delay",
        panel=CONDITIONS,
        metavar="STEPS",
    ),
    Flag(
        ("--guard",),
        str,
        "Against bad contributions: off, result, clip; to compare median, trimmed-mean, krum (off)",
        fills="learn.guard",
        panel=GOSSIP,
        metavar="NAME",
    ),
    Flag(("--attackers",), int, "Peers that lie in every round (0)", fills="learn.attackers", panel=CONDITIONS),
    Flag(
        ("--attack",),
        str,
        "How: noise, scale, sign-flip, nan, huge, alie, ipm or drift",
        fills="learn.attack",
        panel=CONDITIONS,
        metavar="NAME",
    ),
    Flag(
        ("--lying-owners",),
        bool,
        "Attackers lie about the slices that they reduce, too.",
        fills="learn.lying_owners",
        panel=CONDITIONS,
        default=False,
    ),
    Flag(("--steps",), int, "Inner steps of each peer (1600)", fills="learn.steps", panel=TRAINING),
    Flag(("--batch",), int, "Samples in one step of one peer (by task)", fills="learn.batch", panel=TRAINING),
    Flag(("--lr", "--learning-rate"), float, "Peak (by task)", fills="learn.learning_rate", panel=TRAINING),
    Flag(
        ("--constant-lr",),
        bool,
        "The learning rate stays at its peak.",
        fills="learn.constant_rate",
        panel=TRAINING,
        default=False,
    ),
    options.FIX_STATISTICS.into("learn"),
    MODEL,
    SEED,
    SEEDS,
    Flag(
        ("--evaluate-every",),
        int,
        "Steps between evaluations; 0: only at the end (40 of them)",
        fills="learn.evaluate_every",
    ),
    Flag(
        ("--evaluate-peers",),
        bool,
        "Then evaluate each peer by itself, too (in --report).",
        fills="learn.evaluate_peers",
        default=False,
    ),
    options.DATA_DIR.into("learn"),
    options.DEVICE.into("learn"),
    REPORT,
    PICTURE,
)
