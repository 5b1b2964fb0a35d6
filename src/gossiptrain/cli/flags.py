"""What a flag of a command is, and how a command gets its flags from a table of them.

Owns the place where a flag is named: its spellings, type and help, and the setting it fills. What typer reads, `--help`
and the tests follow from it. Does not know any flag or command.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

import typer

Command = Callable[..., None]


@dataclass(frozen=True)
class Flag:
    """One flag. spellings: the first is shown first, the others go on to work; or `--yes/--no`.

    fills: table and field of the setting, such as `gossip.every_steps`; empty where only the command itself asks for
    the value. equal_for_all: peers of one run must agree about it. of_recipe: they need not, but train best where they
    do. rare: left out of a help that has a longer form. lowest, highest: checked by the command line, for values that
    no settings check. act: called with whether the flag was given, before anything else is.
    """

    spellings: tuple[str, ...]
    kind: Any
    help: str
    fills: str = ""
    panel: str | None = None
    metavar: str | None = None
    default: Any = None
    lowest: float | None = None
    highest: float | None = None
    equal_for_all: bool = False
    of_recipe: bool = False
    rare: bool = False
    act: Callable[[typer.Context, bool], None] | None = None

    @property
    def spelling(self) -> str:
        """The usual spelling."""
        return self.spellings[0].partition("/")[0]

    @property
    def table(self) -> str:
        """The table of settings that it fills; empty where it fills none."""
        return self.fills.partition(".")[0]

    @property
    def field(self) -> str:
        """The field of that table."""
        return self.fills.partition(".")[2]

    @property
    def choices(self) -> tuple[str, ...]:
        """The words that it takes, where there are only some: those of `auto|live|plain`."""
        words = tuple((self.metavar or "").split("|"))
        return words if len(words) > 1 and all(word.islower() for word in words) else ()

    @property
    def value(self) -> str:
        """What stands for its value: `N` for a number, `DEVICE` for that of `--device`."""
        return self.metavar or ("N" if self.kind in (int, float) else self.spelling.rpartition("-")[2].upper())

    def into(self, table: str) -> Self:
        """The same flag for another table that has a field of the same name."""
        return replace(self, fills=f"{table}.{self.field}")

    @property
    def parameter(self) -> inspect.Parameter:
        """The same as a parameter of a function that typer reads."""
        option = typer.Option(
            *self.spellings,
            help=self.help,
            rich_help_panel=self.panel,
            metavar=self.value,
            hidden=self.rare,
            parser=self._number if self.kind in (int, float) else None,
            callback=self.act,
            is_eager=self.act is not None,
        )
        kind = self.kind | None if self.default is None else self.kind
        return inspect.Parameter(
            self.spelling.removeprefix("--").replace("-", "_"),
            inspect.Parameter.KEYWORD_ONLY,
            default=self.default,
            annotation=Annotated[kind, option],
        )

    def _number(self, text: str) -> int | float:
        """Reads a number, for messages without the words of the library that parses. Raises typer.BadParameter."""
        wanted = "a whole number" if self.kind is int else "a number"
        if self.lowest is not None and self.highest is not None:
            wanted += f" from {self.lowest:g} to {self.highest:,g}"
        elif self.lowest is not None:
            wanted += f" from {self.lowest:g} on"
        try:
            number: int | float = self.kind(text)
        except ValueError:
            raise typer.BadParameter(f"{wanted}, not {text!r}") from None
        # Compared so that what is no number at all passes neither.
        low, high = self.lowest, self.highest
        if (low is not None and not number >= low) or (high is not None and not number <= high):
            raise typer.BadParameter(f"{wanted}, not {text}")
        return number


class Given:
    """What a command was given for its flags."""

    def __init__(self, flags: Sequence[Flag], values: Mapping[str, Any]) -> None:
        """values: by the name of the parameter, as typer has read them."""
        self._values = {flag: values[flag.parameter.name] for flag in flags}

    def __getitem__(self, flag: Flag) -> Any:
        """The value of one flag, its default where it was not given."""
        return self._values[flag]

    def settings(self, table: str) -> dict[str, Any]:
        """By field, what was given for the settings of `table`; None where nothing was."""
        filling = {flag: value for flag, value in self._values.items() if flag.table == table}
        return {flag.field: None if value == flag.default else value for flag, value in filling.items()}

    def called(self, table: str) -> dict[str, str]:
        """By field of `table`, how the flag is spelt that has given a value for it."""
        given = self.settings(table)
        return {flag.field: flag.spelling for flag in self._values if given.get(flag.field) not in (None, [])}


def with_flags(*flags: Flag) -> Callable[[Command], Command]:
    """Adds flags to what typer reads of a command, which gets their values by name, to be made a `Given`."""

    def dressed(command: Command) -> Command:
        own = [
            each
            for each in inspect.signature(command, eval_str=True).parameters.values()
            if each.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        parameters = [*own, *(flag.parameter for flag in flags)]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        return command

    return dressed


def with_values(arguments: Sequence[str], flag: str, *, is_value: Callable[[str], bool], otherwise: str) -> list[str]:
    """The arguments with `otherwise` after each `flag` that no value follows, since a flag has one or has none."""
    found: list[str] = []
    for position, argument in enumerate(arguments):
        if argument == "--":
            return [*found, *arguments[position:]]
        found.append(argument)
        following = arguments[position + 1 : position + 2]
        if argument == flag and not (following and is_value(following[0])):
            found.append(otherwise)
    return found
