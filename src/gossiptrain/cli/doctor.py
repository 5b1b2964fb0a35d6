"""`gossip doctor`: what keeps a peer from taking part, and what to do about it.

Owns its flags and how findings look, as a table and as JSON. Does not know how anything is checked.
"""

from __future__ import annotations

import asyncio
import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from gossiptrain.cli import options
from gossiptrain.cli.flags import Flag, Given, with_flags
from gossiptrain.cli.train_flags import OUT
from gossiptrain.config import NetworkSettings, layered
from gossiptrain.errors import UsageError
from gossiptrain.monitor.words import counted
from gossiptrain.training.runs.folder import RUNS
from gossiptrain.training.tasks import TASK_NAMES
from gossiptrain.wrong_values import one_of

if TYPE_CHECKING:
    from gossiptrain.doctor.finding import Finding

TASK = Flag(("--task",), str, "The task that is to be trained (any)", metavar="|".join(TASK_NAMES))
RUN = Flag(("--run",), str, "The run that is to be joined (any)", metavar="NAME")
MAX_SECONDS = Flag(("--max-seconds",), float, "Longest time of all checks together (8)", lowest=1, highest=600)
JSON = Flag(("--json",), bool, "Print the findings as one JSON object.", default=False)
DOCTOR_FLAGS = (
    TASK,
    RUN,
    options.INITIAL_PEER,
    options.HOST_MADDR,
    options.ANNOUNCE_MADDR,
    options.DIRECT_PORT,
    options.IDENTITY,
    OUT,
    options.DATA_DIR,
    options.DEVICE,
    MAX_SECONDS,
    JSON,
)
EXIT_FAULT = 1
MARKS = {
    "ok": ("ok", "green"),
    "warning": ("warning", "yellow"),
    "fault": ("FAULT", "bold red"),
    "not checked": ("-", "dim"),
}
WIDTH = 80
_MARK_WIDTH, _NAME_WIDTH = 9, 16


@with_flags(*DOCTOR_FLAGS)
def doctor(
    peers: Annotated[
        list[str] | None, typer.Argument(metavar="[ADDRESS...]", help="Addresses of peers that are to be reached.")
    ] = None,
    **values: Any,
) -> None:
    """Looks for what keeps a peer from taking part, on this computer, on the network, and at other peers.

    Within ten seconds it says what is amiss, why, and what to do, and it ends with 1 where anything is. It changes
    nothing.
    Give it the flags that the peer would be given, as far as it has them.

    Example:  gossip doctor /ip4/203.0.113.7/tcp/4011/p2p/12D3KooW...
    """
    from gossiptrain.doctor.examination import WITHIN_S, Question, examine

    given = Given(DOCTOR_FLAGS, values)
    task = given[TASK]
    if task is not None and task not in TASK_NAMES:
        raise UsageError(f"There is no task {task!r}.", remedy=one_of(task, TASK_NAMES))
    network = layered(
        NetworkSettings, given.settings("network"), called=given.called("network"), remedy=options.SEE_HELP
    )
    question = Question(
        peers=tuple(dict.fromkeys((*(peers or ()), *network.initial_peers))),
        network=network,
        out=given[OUT] or RUNS,
        data_dir=given[options.DATA_DIR],
        task=task,
        run=given[RUN],
        device=given[options.DEVICE],
    )
    findings = asyncio.run(examine(question, within_s=given[MAX_SECONDS] or WITHIN_S))
    if given[JSON]:
        typer.echo(as_json(findings))
    else:
        show(findings, Console(highlight=False, soft_wrap=True))
    if _count(findings, "fault"):
        raise typer.Exit(EXIT_FAULT)


def as_json(findings: Sequence[Finding]) -> str:
    """One object: how many faults and warnings there are, and all findings."""
    counts = {"faults": _count(findings, "fault"), "warnings": _count(findings, "warning")}
    return json.dumps({**counts, "findings": [asdict(finding) for finding in findings]}, indent=2)


def show(findings: Sequence[Finding], console: Console) -> None:
    """A table of at most 80 columns, faults and warnings with cause and remedy below, and a last line that sums up."""
    about = None
    for finding in findings:
        if finding.peer != about:
            about = finding.peer
            console.print(Text("This computer" if not about else f"\nThe peer at {about}", style="bold"))
        for line in _lines(finding):
            console.print(line)
    if not any(finding.peer for finding in findings):
        console.print("\nWhether others reach this computer, only a peer elsewhere can tell:")
        console.print("gossip doctor ADDRESS, with the address of one.")
    console.print(Text(f"\n{summary(findings)}", style="bold"))


def summary(findings: Sequence[Finding]) -> str:
    """What to mend, in one line."""
    faults, warnings = _count(findings, "fault"), _count(findings, "warning")
    found = ", ".join(counted(amount, noun) for amount, noun in ((faults, "fault"), (warnings, "warning")) if amount)
    if not found:
        return "Nothing is amiss."
    if not faults:
        return f"{found}; nothing keeps a peer from taking part."
    first = next(finding.name for finding in findings if finding.verdict == "fault")
    return f"{found}. Begin with the first fault: {first}."


def _lines(finding: Finding) -> Iterator[Text]:
    mark, style = MARKS[finding.verdict]
    margin = " " * (_MARK_WIDTH + _NAME_WIDTH)
    texts = [finding.what, *([f"Why: {finding.cause}"] if finding.cause else [])]
    texts += [f"To do: {finding.remedy}"] if finding.remedy else []
    lines = [line for text in texts for line in _wrapped(text, WIDTH - len(margin))]
    first, *others = lines
    head = Text.assemble((f"{mark:<{_MARK_WIDTH}}", style), f"{finding.name:<{_NAME_WIDTH}} "[:_NAME_WIDTH], first)
    yield head
    yield from (Text(margin + line) for line in others)


def _wrapped(text: str, width: int) -> list[str]:
    """Addresses longer than a line stay whole, so that they can be copied."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def _count(findings: Sequence[Finding], verdict: str) -> int:
    return sum(finding.verdict == verdict for finding in findings)
