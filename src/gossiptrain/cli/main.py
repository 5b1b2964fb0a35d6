"""The entry of the command `gossip`, and of the three scripts, which are `gossip train` with the task chosen.

Owns how arguments are read and how errors become a message and an exit code. Does not know what the commands do.
"""

from __future__ import annotations

import atexit
import gc
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from typer.exceptions import TyperException

from gossiptrain import __version__
from gossiptrain.cli.bootstrap import bootstrap
from gossiptrain.cli.completion import completion
from gossiptrain.cli.demo import demo
from gossiptrain.cli.doctor import doctor
from gossiptrain.cli.evaluate import evaluate
from gossiptrain.cli.export import export
from gossiptrain.cli.help import HelpfulCommand, HelpfulGroup
from gossiptrain.cli.invite import invite
from gossiptrain.cli.joining import with_places
from gossiptrain.cli.paging import with_pages
from gossiptrain.cli.revoke import revoke
from gossiptrain.cli.runs import runs
from gossiptrain.cli.sample import sample
from gossiptrain.cli.simulate import simulate
from gossiptrain.cli.train import train
from gossiptrain.cli.watch import watch
from gossiptrain.core.fingerprint import PROTOCOL_VERSION
from gossiptrain.errors import GossipError, UsageError

EXIT_INTERRUPTED = 130


def _tell_version(asked: bool) -> None:
    if asked:
        try:
            torch = f"torch {version('torch')}"
        except PackageNotFoundError:
            torch = "no torch"
        python = platform.python_version()
        typer.echo(f"gossip {__version__}, protocol {PROTOCOL_VERSION}, {torch}, Python {python}")
        raise typer.Exit


app = typer.Typer(
    name="gossip",
    cls=HelpfulGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def gossip(
    asked_version: Annotated[
        bool, typer.Option("--version", "-V", is_eager=True, callback=_tell_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Train one PyTorch model together on any number of ordinary computers, with no server."""


TRAIN, SWARM, MORE = "Train", "Bring peers together", "More"
for panel, name, command in (
    (TRAIN, "demo", demo),
    (TRAIN, "train", train),
    (TRAIN, "watch", watch),
    (TRAIN, "runs", runs),
    (TRAIN, "eval", evaluate),
    (TRAIN, "export", export),
    (TRAIN, "sample", sample),
    (SWARM, "invite", invite),
    (SWARM, "revoke", revoke),
    (SWARM, "bootstrap", bootstrap),
    (SWARM, "doctor", doctor),
    (MORE, "completion", completion),
):
    app.command(name, cls=HelpfulCommand, rich_help_panel=panel)(command)
app.add_typer(simulate, name="simulate", rich_help_panel=MORE)


def with_hyphens(arguments: Sequence[str]) -> list[str]:
    """Flags in the one spelling that is declared: `--initial_peer` and `--initial-peer` are the same."""
    spelt: list[str] = []
    for position, argument in enumerate(arguments):
        if argument == "--":
            return [*spelt, *arguments[position:]]
        if argument.startswith("--"):
            flag, equals, value = argument.partition("=")
            argument = flag.replace("_", "-") + equals + value
        spelt.append(argument)
    return spelt


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and exits with its code; with 1, quietly, where whoever read its output has gone."""
    # Otherwise the interpreter looks through the hundreds of thousands of objects of torch once more when it ends.
    atexit.register(gc.freeze)
    given = sys.argv[1:] if arguments is None else arguments
    try:
        code = app(with_pages(with_places(with_hyphens(given))), prog_name="gossip", standalone_mode=False)
    except GossipError as error:
        _tell(error, given)
        code = error.exit_code
    except TyperException as error:
        if (mistake := _mistake(error)) is not None:
            _tell(mistake, given)
        code = UsageError.exit_code
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("Stopped.", err=True)
        code = EXIT_INTERRUPTED
    sys.exit(code if isinstance(code, int) else 0)


def _mistake(error: TyperException) -> UsageError | None:
    """What typer has found wrong, in the words of this program; None where the help is all that there is to say."""
    words = error.format_message()
    if not words.strip():
        return None
    if isinstance(error, typer.BadParameter) and error.param is not None and error.param.opts and error.message:
        return UsageError(f"{error.param.opts[0]} takes {error.message}.", remedy="See --help.")
    if (flag := getattr(error, "option_name", None)) is None:
        return UsageError(words, remedy="See --help.")
    if "requires an argument" in words:
        return UsageError(f"{flag} needs a value after it.", remedy="See --help.")
    if "does not take a value" in words:
        return UsageError(f"{flag} takes no value.", remedy="See --help.")
    near = sorted(getattr(error, "possibilities", None) or ())
    return UsageError(f"There is no flag {flag}.", remedy=f"Did you mean {near[0]}?" if near else "See --help.")


def _tell(error: GossipError, arguments: Sequence[str]) -> None:
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    what, *others = (_as_typed(line, arguments) for line in (error.what, error.cause, error.remedy))
    console.print(f"[bold red]Error:[/] {escape(what)}")
    for line in others:
        if line:
            console.print(f"  {escape(line)}")


def _as_typed(text: str, arguments: Sequence[str]) -> str:
    """The text with flags spelt as the user has spelt them."""
    for typed, known in zip(arguments, with_hyphens(arguments), strict=True):
        if typed != known:
            text = text.replace(known.partition("=")[0], typed.partition("=")[0])
    return text
