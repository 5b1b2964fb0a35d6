"""What `--help` shows: one line a flag, in groups, so that the flags that most people need fit on a screen.

Owns how help looks, and the longer form `--help-all` of commands that have many flags. Does not know any command.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from typing import Any, cast

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperArgument, TyperCommand, TyperGroup

from gossiptrain.cli.flags import Flag

MOST_COLUMNS = 100
INDENT = 2
MOST_NAME_COLUMNS = 27
"""For a flag and its value; what is longer has a line of its own."""
OTHERS = "Other"
"""The group of what says no group."""


def _show_all(context: typer.Context, asked: bool) -> None:
    if asked:
        show(cast(TyperCommand, context.command), context, rare=True)
        raise typer.Exit


HELP_ALL = Flag(("--help-all",), bool, "Show all flags.", default=False, act=_show_all)


class HelpfulCommand(TyperCommand):
    """A command whose help looks so."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Prints it; `formatter` is for text that is formatted otherwise."""
        show(self, ctx, rare=not any(HELP_ALL.spelling in param.opts for param in self.params))


class HelpfulGroup(TyperGroup):
    """A command with commands of its own whose help looks so."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Prints it; `formatter` is for text that is formatted otherwise."""
        show(self, ctx, rare=True)


def show(command: TyperCommand | TyperGroup, context: Any, *, rare: bool) -> None:
    """Prints the help of a command. rare: all flags, those too that few people need."""
    console = Console(soft_wrap=True, highlight=False)
    width = min(console.width, MOST_COLUMNS)
    console.print(Text.assemble(("Usage: ", "bold"), " ".join(command.get_usage(context).split()[1:])))
    for text in _said(command.help or "", width):
        console.print(Text(text))
    groups = _groups(command, context, rare=rare)
    longest = max(len(name) for rows in groups.values() for name, _ in rows)
    for title, rows in groups.items():
        console.print(Text(title, "bold"))
        for name, said in rows:
            for line in _row(name, said, columns=min(longest + 2, MOST_NAME_COLUMNS), width=width):
                console.print(line)
    if not rare:
        console.print(Text(f"And more: {command.name and context.command_path} {HELP_ALL.spelling}", "dim"))


def _said(text: str, width: int) -> Iterator[str]:
    """The paragraphs of a docstring; commands in it have lines of their own, which nothing breaks."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        words = " ".join(paragraph.split())
        if words.startswith("gossip "):
            yield " " * INDENT + words
        else:
            yield from textwrap.wrap(words, width)


def _groups(command: TyperCommand | TyperGroup, context: Any, *, rare: bool) -> dict[str, list[tuple[str, str]]]:
    """By title, what is shown on the left and on the right."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for each in command.commands.values() if isinstance(command, TyperGroup) else ():
        said = " ".join((each.help or "").split("\n\n")[0].split())
        groups.setdefault(getattr(each, "rich_help_panel", None) or "Commands", []).append((each.name or "", said))
    flags = [param for param in command.get_params(context) if not isinstance(param, TyperArgument)]
    # What says no group comes last, wherever it stands in the table.
    for named in (True, False):
        for param in flags:
            title = getattr(param, "rich_help_panel", None)
            if bool(title) is named and (rare or not getattr(param, "hidden", False)):
                groups.setdefault(title or OTHERS, []).append((_spelt(param), _explained(param)))
    return groups


def _spelt(param: Any) -> str:
    """`--codec CODEC`, `--open/--private`: only the usual spelling; others go on to work."""
    flag = "/".join((*param.opts[:1], *param.secondary_opts[:1]))
    if param.is_flag:
        return flag
    metavar = param.metavar or ""
    return f"{flag} {metavar if metavar.isupper() or '[' in metavar else _placeholder(flag)}"


def _placeholder(flag: str) -> str:
    return flag.removeprefix("--").rpartition("-")[2].upper()


def _explained(param: Any) -> str:
    """The help with the words that the flag takes, and its default, at its end and in brackets."""
    said = (param.help or "").strip()
    if not param.is_flag and param.metavar and "|" in param.metavar and not param.metavar.isupper():
        head, bracket, default = said.rpartition(" (") if said.endswith(")") else (said, "", "")
        words = param.metavar.split("|")
        said = f"{head.rstrip('.')}: {', '.join(words[:-1])} or {words[-1]}{bracket}{default}"
    if param.default not in (None, False, []) and param.show_default and not callable(param.default):
        said = f"{said.rstrip('.')} ({param.default})"
    return said


def _row(name: str, said: str, *, columns: int, width: int) -> Iterator[Text]:
    """columns: for the name."""
    lines = textwrap.wrap(said, width - INDENT - columns, break_on_hyphens=False) or [""]
    first = Text(" " * INDENT).append(name, "cyan")
    if len(name) < columns:
        first.append(" " * (columns - len(name)) + lines.pop(0))
    yield first
    yield from (Text(" " * (INDENT + columns) + line) for line in lines)
