"""`gossip demo`: a swarm of real peers on this computer, and whether it learns more together than alone.

Owns the command and its exit code. The course is in `demonstration`, and what the swarm has to show in `verdict`.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, cast, get_args

from gossiptrain import logs
from gossiptrain.cli import options
from gossiptrain.cli.demo_view import demo_view
from gossiptrain.cli.demonstration import MAX_PEERS, Demonstration, Order
from gossiptrain.cli.flags import Flag, Given, with_flags
from gossiptrain.cli.paging import PAGE, page_of
from gossiptrain.cli.verdict import problems_of
from gossiptrain.errors import SwarmFailedError, UsageError
from gossiptrain.monitor.swarm_table import SwarmTable
from gossiptrain.monitor.view import Format
from gossiptrain.wrong_values import one_of

PEERS = Flag(("--peers",), int, "How many peers to start.", default=4, lowest=2, highest=MAX_PEERS)
SECONDS = Flag(
    ("--seconds",),
    float,
    "How long all of them train together (16, and less where the computer is so busy that the whole would take over a "
    "minute)",
    lowest=1.0,
    highest=86_400.0,
)
SEED = Flag(("--seed",), int, "Seeds the first peer's parameters.", default=0, lowest=0)


DEMO_FLAGS = (PEERS, SECONDS, SEED, options.REPORT, options.LOG_FORMAT, PAGE, options.LOG_LEVEL)


@with_flags(*DEMO_FLAGS)
def demo(**values: Any) -> None:
    """Shows a swarm on this computer: real peers, each with its own part of the digits, train one model together.

    In a terminal, [k] kills a random peer, [a] adds one, [q] stops and saves. At the end every peer is compared with
    itself trained alone. Ends with 0 only if all did better together.

    With --page they are seen, killed and added in a browser.

    Examples:

    gossip demo --page

    gossip demo --report demo.json
    """
    given = Given(DEMO_FLAGS, values)
    report, log_format = given[options.REPORT], given[options.LOG_FORMAT]
    if log_format not in get_args(Format):
        raise UsageError(f"There is no log format {log_format!r}.", remedy=one_of(log_format, get_args(Format)))
    if report is not None and not report.absolute().parent.is_dir():
        raise UsageError(f"The report {report} cannot be written: there is no folder {report.absolute().parent}.")
    order = Order(peers=given[PEERS], seconds=given[SECONDS], seed=given[SEED], report=report)
    table = SwarmTable(key_help="")
    view = demo_view(cast(Format, log_format), sys.stdout, table)
    demonstration = Demonstration(order, table, view)
    try:
        with (
            # All peers write to one file: what they say on standard error is for their last words.
            logs.shown(given[options.LOG_LEVEL], file=demonstration.folder / "log.txt"),
            page_of(demonstration.picture, given[PAGE], order=demonstration.take_order) as notices,
        ):
            for notice in notices:
                view.tell(notice.message)
            outcome = asyncio.run(demonstration.run())
    except asyncio.CancelledError:
        # Told to end at once; all processes are gone already.
        raise KeyboardInterrupt from None
    if problems := problems_of(outcome):
        raise SwarmFailedError(
            "The swarm did not do what it should: " + "; ".join(problems) + ".",
            cause="Peers that get too little of a busy computer, or too little time, may not get far enough.",
            remedy="Try again, with more time: gossip demo --seconds 30.",
        )
