"""What is said of a setting that cannot be what it was given, and of a word that was misspelt.

Owns these sentences: what a value may be, in words, and which known word is nearest to an unknown one. Does not know
which settings there are, nor where they come from.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

BEYOND_USE = 1_000_000
"""Limits above this one only catch typing errors; they are named to whoever has passed them."""
MOST_CHARS = 80


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`Did you mean 'cifar10'?`, or nothing where no known word is near."""
    names = list(known)
    near = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.5)
    if not near and len(word) >= 3:
        near = [name for name in names if name.startswith(word.lower())][:1]
    return f"Did you mean {near[0]!r}?" if near else ""


def one_of(word: str, known: Sequence[str]) -> str:
    """Which words there are, the nearest one first: for the remedy of an error about `word`."""
    return " ".join(filter(None, (did_you_mean(word, known), f"There are: {', '.join(known)}.")))


def in_words(problem: Mapping[str, Any], kind: type[BaseModel], called: Mapping[str, str]) -> str:
    """One problem that pydantic has found in the values for `kind`, as a person would say it.

    called: how the user knows a field, such as `--gossip-alpha`, by its name; others go by that.
    """
    field = str(problem["loc"][0]) if problem["loc"] else ""
    name, given = called.get(field, field), problem["input"]
    match problem["type"]:
        case "value_error":
            message = str(problem["ctx"]["error"])
            return f"{name}: {message}" if name else message
        case "extra_forbidden":
            return " ".join(filter(None, (f"{name} is not a setting.", did_you_mean(field, kind.model_fields))))
        case "missing":
            return f"{name} is missing."
    wanted = _wanted(kind, field, name_all=str(problem["type"]).startswith(("less_than", "int_parsing_size")))
    meant = did_you_mean(given, _choices(kind, field)) if isinstance(given, str) else ""
    return " ".join(filter(None, (f"{name} takes {wanted}, not {_shown(given)}.", meant)))


def _schema(kind: type[BaseModel], field: str) -> dict[str, Any]:
    """The JSON schema of the values that a field takes, without the one that it takes for nothing."""
    whole: dict[str, Any] = kind.model_json_schema()["properties"].get(field, {})
    several = [part for part in whole.get("anyOf", ()) if part.get("type") != "null"]
    return several[0] if len(several) == 1 else whole


def _choices(kind: type[BaseModel], field: str) -> list[str]:
    schema = _schema(kind, field)
    return [str(schema["const"])] if "const" in schema else [str(each) for each in schema.get("enum", ())]


def _wanted(kind: type[BaseModel], field: str, *, name_all: bool) -> str:
    """`a whole number from 2 to 64`. name_all: limits beyond all use, too."""
    schema = _schema(kind, field)
    if choices := _choices(kind, field):
        return f"one of {', '.join(choices)}"
    match schema.get("type"):
        case "integer":
            return "a whole number" + _range(schema, name_all=name_all)
        case "number":
            return "a number" + _range(schema, name_all=name_all)
        case "boolean":
            return "true or false"
        case "array":
            return "a list"
        case "object":
            return "a table"
    if "maxLength" in schema:
        return f"text of {schema.get('minLength', 0)} to {schema['maxLength']} characters"
    return "text"


def _range(schema: Mapping[str, Any], *, name_all: bool) -> str:
    least, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    most, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    if not name_all:
        most, below = (None if limit is not None and limit > BEYOND_USE else limit for limit in (most, below))
    if least is not None and most is not None:
        return f" from {_figure(least)} to {_figure(most)}"
    words = [f"from {_figure(least)} on"] if least is not None else []
    words += [f"above {_figure(above)}"] if above is not None else []
    words += [f"up to {_figure(most)}"] if most is not None else []
    words += [f"below {_figure(below)}"] if below is not None else []
    return f" {' and '.join(words)}" if words else ""


def _figure(limit: float) -> str:
    return f"{int(limit):,}" if limit == int(limit) else f"{limit:g}"


def _shown(given: object) -> str:
    text = repr(given)
    return text if len(text) <= MOST_CHARS else f"{text[:MOST_CHARS]}..."
