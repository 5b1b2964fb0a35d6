"""`gossip simulate`: experiments with virtual peers.

Owns the flags, and the order of the runs that are compared. The work is the laboratory's.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from gossiptrain.cli import options
from gossiptrain.cli.evaluate import write_report
from gossiptrain.cli.simulate_view import RunsView, show_comparison
from gossiptrain.config import checked
from gossiptrain.errors import UsageError

if TYPE_CHECKING:
    from gossiptrain.simulate.learn_settings import LearnSettings

GOSSIP, CONDITIONS, TRAINING, OUTPUT = options.GOSSIP, "Conditions", "Training", "Output"

simulate = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")


@simulate.callback()
def about() -> None:
    """Experiments with many virtual peers in one process."""


@simulate.command()
def learn(
    task: Annotated[str, typer.Argument(metavar="digits|cifar10|text", help="What to learn.")],
    peers: Annotated[int | None, typer.Option(help="How many, 2-256 (8)")] = None,
    strategy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="average, step-mix, diloco, noloco, sync; or alone, central to compare with. Repeatable (step-mix)",
            rich_help_panel=GOSSIP,
        ),
    ] = None,
    every_steps: options.EverySteps = None,
    group_size: Annotated[
        int | None, typer.Option(help="Most peers that average together, 2-64 (16)", rich_help_panel=GOSSIP)
    ] = None,
    grouping: options.Grouping = None,
    codec: options.Codec = None,
    alpha: Annotated[
        float | None, typer.Option(help="Share of the average that is taken, 0.1-1.0 (1.0)", rich_help_panel=GOSSIP)
    ] = None,
    outer_lr: Annotated[
        float | None, typer.Option(help="Learning rate of the outer step (by strategy)", rich_help_panel=GOSSIP)
    ] = None,
    outer_momentum: Annotated[
        float | None, typer.Option(help="Momentum of the outer step (by strategy)", rich_help_panel=GOSSIP)
    ] = None,
    non_iid: Annotated[
        float | None,
        typer.Option(
            metavar="ALPHA",
            help="Deal classes unequally, the smaller the more so; cut a text into parts (all alike)",
            rich_help_panel=CONDITIONS,
        ),
    ] = None,
    absent: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="How often a peer misses a round, 0-0.95 (0)", rich_help_panel=CONDITIONS),
    ] = None,
    speeds: Annotated[
        float | None,
        typer.Option(metavar="SPREAD", help="Fastest peer by slowest peer, 1-100 (1)", rich_help_panel=CONDITIONS),
    ] = None,
    delay: Annotated[
        int | None,
        typer.Option(metavar="STEPS", help="Age of an average when it is taken (0)", rich_help_panel=CONDITIONS),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Inner steps of each peer (1600)", rich_help_panel=TRAINING)] = None,
    batch: Annotated[
        int | None, typer.Option(help="Samples in one step of one peer (by task)", rich_help_panel=TRAINING)
    ] = None,
    lr: Annotated[
        float | None, typer.Option("--lr", "--learning-rate", help="Peak (by task)", rich_help_panel=TRAINING)
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="cifar10: small, tiny, vgg11; text: small, tiny", rich_help_panel=TRAINING)
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Seeds parameters, data, groups and conditions.", rich_help_panel=TRAINING)
    ] = 0,
    seeds: Annotated[
        int, typer.Option(min=1, max=1000, help="How many seeds each strategy is run with.", rich_help_panel=TRAINING)
    ] = 1,
    evaluate_every: Annotated[
        int | None, typer.Option(help="Steps between evaluations; 0: only at the end (40 of them)")
    ] = None,
    evaluate_peers: Annotated[
        bool, typer.Option("--evaluate-peers", help="Then evaluate each peer by itself, too (in --report).")
    ] = False,
    data_dir: options.DataDir = None,
    device: options.Device = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", "--json", metavar="FILE", help="Write everything as JSON.", rich_help_panel=OUTPUT),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw loss and disagreement: .png, .svg or .pdf", rich_help_panel=OUTPUT),
    ] = None,
) -> None:
    """Trains many virtual peers on one device, with the strategies, groups and codecs of real ones, and compares.

    Examples:

    gossip simulate learn digits --strategy step-mix --strategy average --strategy alone --group-size 4 --every-steps 20

    gossip simulate learn digits --peers 64 --group-size 8 --non-iid 0.1 --absent 0.3 --seeds 3 --picture curves.png

    gossip simulate learn text --model tiny --strategy diloco --codec int8 --report diloco.json
    """
    given: dict[str, Any] = {
        "task": task,
        "variant": {"model": model} if model is not None else None,
        "peers": peers,
        "steps": steps,
        "every_steps": every_steps,
        "batch": batch,
        "learning_rate": lr,
        "group_size": group_size,
        "grouping": grouping,
        "codec": codec,
        "alpha": alpha,
        "non_iid": non_iid,
        "absent": absent,
        "speeds": speeds,
        "delay": delay,
        "evaluate_every": evaluate_every,
        "evaluate_peers": evaluate_peers,
        "data_dir": data_dir,
        "device": device,
    }
    outer = {"outer_learning_rate": outer_lr, "outer_momentum": outer_momentum}
    chosen = list(dict.fromkeys(strategy or ["step-mix"]))
    _compare(_settings(given, outer, chosen, range(seed, seed + seeds)), report=report, picture=picture)


def _settings(
    given: dict[str, Any], outer: dict[str, float | None], strategies: list[str], seeds: range
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
        found += [checked(LearnSettings, **own, strategy=name, seed=seed) for seed in seeds]
    return found


def _compare(runs: list[LearnSettings], *, report: Path | None, picture: Path | None) -> None:
    if report is not None and not report.absolute().parent.is_dir():
        raise UsageError(f"The report {report} cannot be written: there is no folder {report.absolute().parent}.")
    # Imported late: torch takes seconds, and a wrong flag should not have to wait for it.
    from gossiptrain.simulate.comparison import comparison_as_json, lines_of
    from gossiptrain.simulate.learn import run
    from gossiptrain.simulate.picture import check_picture, draw
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
