"""`gossip completion`: what a shell needs to complete commands, flags, the words that flags take, and files.

Owns one small script for each shell, made of the tables of commands and flags, so that pressing Tab starts no Python.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from gossiptrain.errors import UsageError
from gossiptrain.wrong_values import one_of

FILES = "\0files"
"""Stands for the words that are names of files and folders."""


@dataclass(frozen=True)
class Choice:
    """A flag or an argument. takes: the words that may follow; `FILES`; empty where anything may, or nothing does."""

    spelling: str
    said: str
    takes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Offer:
    """One command: what it is called, all of it but `gossip`, and what may follow it."""

    words: tuple[str, ...]
    said: str
    commands: tuple[str, ...]
    flags: tuple[Choice, ...]
    arguments: tuple[str, ...]


def completion(
    context: typer.Context,
    shell: Annotated[str, typer.Argument(metavar="bash|zsh|fish", help="The shell.", show_default=False)],
) -> None:
    """Prints a script with which the shell completes what you type.

    For good: put this line into ~/.bashrc, or with zsh into ~/.zshrc; for fish write the output to
    ~/.config/fish/completions/gossip.fish.

    gossip completion bash > ~/.gossip-completion; echo '. ~/.gossip-completion' >> ~/.bashrc
    """
    if shell not in SCRIPTS:
        raise UsageError(f"There is no completion for {shell!r}.", remedy=one_of(shell, tuple(SCRIPTS)))
    typer.echo(SCRIPTS[shell](list(offers(context.find_root().command))), nl=False)


def offers(command: Any, words: tuple[str, ...] = ()) -> Iterator[Offer]:
    """That of a command, and those of all commands in it."""
    inner = getattr(command, "commands", {})
    flags = [Choice("--help", "Show this message and exit.")]
    arguments: list[str] = []
    for param in command.params:
        takes = _taken(param)
        if param.param_type_name == "argument":
            arguments.extend(takes)
            continue
        spellings = [*param.opts[:1], *param.secondary_opts[:1]]
        flags += [Choice(each, param.help or "", () if param.is_flag else takes) for each in spellings]
    said = " ".join((command.help or "").split("\n\n")[0].split())
    yield Offer(words, said, tuple(inner), tuple(flags), tuple(arguments))
    for name, each in inner.items():
        yield from offers(each, (*words, name))


def _taken(param: Any) -> tuple[str, ...]:
    metavar = param.metavar or ""
    choices = tuple(metavar.split("|"))
    if len(choices) > 1 and all(choice.islower() for choice in choices):
        return choices
    return (FILES,) if metavar in ("FILE", "DIR", "DIR...") else ()


def _bash(all_offers: list[Offer]) -> str:
    """Compares what stands before the cursor with the words of a command, the longest first."""
    commands = "\n".join(
        f'    "{" ".join(offer.words)}") words={shlex.quote(" ".join((*offer.commands, *_plain(offer.arguments))))}'
        f" flags={shlex.quote(' '.join(flag.spelling for flag in offer.flags))} ;;"
        for offer in all_offers
    )
    names = " ".join(shlex.quote(" ".join(offer.words)) for offer in all_offers)
    values = "\n".join(
        f'    "{" ".join(offer.words)} {flag.spelling}") '
        + ("files=1 ;;" if FILES in flag.takes else f"values={shlex.quote(' '.join(flag.takes))} ;;")
        for offer in all_offers
        for flag in offer.flags
        if flag.takes
    )
    return f"""# Completion of gossip for bash; made by `gossip completion bash`.
_gossip() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}"
  local command="" word words="" flags="" values="" files="" place
  local known=" {names} "
  for ((place = 1; place < COMP_CWORD; place++)); do
    word="${{COMP_WORDS[place]}}"
    case "$known" in *"'${{command:+$command }}$word'"* | *" ${{command:+$command }}$word "*)
      command="${{command:+$command }}$word" ;;
    esac
  done
  case "$command" in
{commands}
  esac
  case "$command ${{previous//_/-}}" in
{values}
  esac
  if [ -n "$files" ]; then
    COMPREPLY=($(compgen -f -- "$current"))
  elif [ -n "$values" ]; then
    COMPREPLY=($(compgen -W "$values" -- "$current"))
  elif [[ "$current" == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "${{current//_/-}}"))
  else
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    [ -n "$words" ] || COMPREPLY=($(compgen -f -- "$current"))
  fi
}}
complete -o filenames -F _gossip gossip
"""


def _zsh(all_offers: list[Offer]) -> str:
    """The script for bash, which zsh understands."""
    return "autoload -U +X bashcompinit && bashcompinit\n" + _bash(all_offers).replace("for bash;", "for zsh;").replace(
        "`gossip completion bash`", "`gossip completion zsh`"
    )


def _fish(all_offers: list[Offer]) -> str:
    """One line for each word that may follow something."""
    lines = ["# Completion of gossip for fish; made by `gossip completion fish`.", "complete -c gossip -f"]
    for offer in all_offers:
        last = offer.words[-1:] or ("",)
        here = f"__fish_seen_subcommand_from {last[0]}" if offer.words else "__fish_use_subcommand"
        if offer.commands and offer.words:
            here += f"; and not __fish_seen_subcommand_from {' '.join(offer.commands)}"
        start = f"complete -c gossip -n {shlex.quote(here)}"
        said = {each.words: each.said for each in all_offers}
        for name in offer.commands:
            lines.append(f"{start} -a {name} -d {shlex.quote(_short(said[(*offer.words, name)]))}")
        if words := _plain(offer.arguments):
            lines.append(f"{start} -a {shlex.quote(' '.join(words))}")
        if FILES in offer.arguments:
            lines.append(f"{start} -F")
        for flag in offer.flags:
            takes = " -r -F" if FILES in flag.takes else f" -x -a {shlex.quote(' '.join(flag.takes))}"
            described = f"{start} -l {flag.spelling.removeprefix('--')} -d {shlex.quote(_short(flag.said))}"
            lines.append(described + (takes if flag.takes else ""))
    return "\n".join(lines) + "\n"


def _plain(words: tuple[str, ...]) -> list[str]:
    return [word for word in words if word != FILES]


def _short(said: str) -> str:
    return said if len(said) <= 60 else f"{said[:57].rstrip()}..."


SCRIPTS: dict[str, Callable[[list[Offer]], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
