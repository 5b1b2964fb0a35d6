"""`gossip simulate`: experiments with virtual peers.

Owns the command `learn` and the order of the runs that are compared; its flags stand in `learn_flags`. The work is the
laboratory's. The other command, `swarm`, has a room of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from gossiptrain.cli.evaluate import write_report
from gossiptrain.cli.flags import Given, with_flags
from gossiptrain.cli.help import HelpfulCommand, HelpfulGroup
from gossiptrain.cli.learn_flags import LEARN_FLAGS, MODEL, PICTURE, REPORT, SEED, SEEDS, STRATEGY
from gossiptrain.cli.options import SEE_HELP
from gossiptrain.cli.simulate_swarm import swarm
from gossiptrain.cli.simulate_view import RunsView, show_comparison
from gossiptrain.config import validated
from gossiptrain.errors import UsageError

if TYPE_CHECKING:
    from gossiptrain.simulate.learn_settings import LearnSettings

simulate = typer.Typer(cls=HelpfulGroup, no_args_is_help=True, rich_markup_mode=None)


@simulate.callback()
def about() -> None:
    """Experiments with many virtual peers in one process."""


simulate.command(cls=HelpfulCommand)(swarm)


@simulate.command(cls=HelpfulCommand)
@with_flags(*LEARN_FLAGS)
def learn(
    task: Annotated[str, typer.Argument(metavar="digits|cifar10|text", help="What to learn.")], **values: Any
) -> None:
    """Trains many virtual peers on one device, with the strategies, groups and codecs of real ones, and compares.

    Examples:

    gossip simulate learn digits --strategy step-mix --strategy average --strategy alone --group-size 4 --every-steps 20

    gossip simulate learn digits --peers 64 --group-size 8 --non-iid 0.1 --absent 0.3 --seeds 3 --picture curves.png

    gossip simulate learn text --model tiny --strategy diloco --codec int8 --report diloco.json
    """
    given = Given(LEARN_FLAGS, values)
    model = given[MODEL]
    own = {"task": task, "variant": {"model": model} if model is not None else None, **given.settings("learn")}
    chosen = list(dict.fromkeys(given[STRATEGY] or ["step-mix"]))
    seeds = range(given[SEED], given[SEED] + given[SEEDS])
    called = {**given.called("learn"), **given.called("outer")}
    runs = _settings(own, given.settings("outer"), strategies=chosen, seeds=seeds, called=called)
    _compare(runs, report=given[REPORT], picture=given[PICTURE])


def _settings(
    given: dict[str, Any], outer: dict[str, Any], *, strategies: list[str], seeds: range, called: dict[str, str]
) -> list[LearnSettings]:
    """All runs, checked before the first one begins."""
    from gossiptrain.simulate.learn_settings import WITH_OUTER_STEP, WITHOUT_DELAY, LearnSettings

    found = []
    for name in strategies:
        own = dict(given)
        # In a comparison each strategy takes of the flags what is about it.
        if name in WITH_OUTER_STEP or len(strategies) == 1:
            own |= outer
        if name in WITHOUT_DELAY and len(strategies) > 1:
            own["delay"] = None
        if name == "central" and len(strategies) > 1:
            own["speeds"] = None
        values = [{**own, "strategy": name, "seed": seed} for seed in seeds]
        found += [validated(LearnSettings, each, called=called, remedy=SEE_HELP) for each in values]
    return found


def _compare(runs: list[LearnSettings], *, report: Path | None, picture: Path | None) -> None:
    if report is not None and not report.absolute().parent.is_dir():
        raise UsageError(f"The report {report} cannot be written: there is no folder {report.absolute().parent}.")
    # Imported late: torch takes seconds, and a wrong flag should not have to wait for it.
    from gossiptrain.simulate.comparison import comparison_as_json, lines_of
    from gossiptrain.simulate.learn import run
    from gossiptrain.simulate.picture import draw
    from gossiptrain.simulate.picture_file import check_picture
    from gossiptrain.simulate.resolving import resolved

    if picture is not None:
        check_picture(picture)
    for settings in runs:
        resolved(settings)
    console = Console(file=sys.stdout)
    several_seeds = len({settings.seed for settings in runs}) > 1
    results = []
    with RunsView(console) as view:
        for settings in runs:
            title = f"{settings.strategy}, seed {settings.seed}" if several_seeds else settings.strategy
            results.append(run(settings, on_record=view.begin(title, steps=settings.steps)))
            view.end(results[-1])
    show_comparison(console, lines_of(results))
    if report is not None:
        write_report(report, comparison_as_json(results))
    if picture is not None:
        draw(results, picture)
