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
    the value. equal_for_all: peers of one run must agree about it. lowest, highest: checked by the command line, for
    values that no settings check.
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
            metavar=self.metavar,
            min=self.lowest,
            max=self.highest,
        )
        kind = self.kind | None if self.default is None else self.kind
        return inspect.Parameter(
            self.spelling.removeprefix("--").replace("-", "_"),
            inspect.Parameter.KEYWORD_ONLY,
            default=self.default,
            annotation=Annotated[kind, option],
        )


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
