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
from gossiptrain.cli.demo import demo
from gossiptrain.cli.doctor import doctor
from gossiptrain.cli.evaluate import evaluate
from gossiptrain.cli.export import export
from gossiptrain.cli.invite import invite
from gossiptrain.cli.joining import with_places
from gossiptrain.cli.revoke import revoke
from gossiptrain.cli.simulate import simulate
from gossiptrain.cli.train import train
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
    no_args_is_help=True,
    rich_markup_mode="markdown",
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


app.command()(demo)
app.command()(train)
app.command()(invite)
app.command()(revoke)
app.command()(bootstrap)
app.command()(doctor)
app.command("eval")(evaluate)
app.command()(export)
app.add_typer(simulate, name="simulate")


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
        code = app(with_places(with_hyphens(given)), prog_name="gossip", standalone_mode=False)
    except GossipError as error:
        _tell(error)
        code = error.exit_code
    except TyperException as error:
        _tell(UsageError(error.format_message(), remedy="See --help."))
        code = UsageError.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_INTERRUPTED
    sys.exit(code if isinstance(code, int) else 0)


def _tell(error: GossipError) -> None:
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(f"[bold red]Error:[/] {escape(error.what)}")
    for line in (error.cause, error.remedy):
        if line:
            console.print(f"  {escape(line)}")
