"""Every message with each of its fields at the ends of what the field allows, made from the constraints themselves.

A message that is added to the protocol is covered without a word here.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

from gossiptrain.net.framing import Message

PRINTABLE = "".join(map(chr, range(33, 127)))
MAX_NUMBER = 1.7e308
LONGEST_FREE_TEXT = 1024
FAR_INTEGERS = (-(2**63), 2**63 - 1)
Schema = dict[str, Any]


def messages_of(*modules: ModuleType) -> list[type[Message]]:
    """All messages that are defined in the modules."""
    return [
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Message) and kind.__module__ == module.__name__
    ]


def extremes(kind: type[Message], **fixed: Any) -> Iterator[Message]:
    """Messages of that kind: all fields at their least, all at their most, and each alone at each of its ends.

    fixed: values that are the same in all of them.
    """
    schema = kind.model_json_schema()
    ends = {
        name: tuple(_ends(part, schema.get("$defs", {})))
        for name, part in schema.get("properties", {}).items()
        if name not in fixed
    }
    least = {name: values[0] for name, values in ends.items()}
    yield _made(kind, least | fixed)
    for name, values in ends.items():
        for value in values[1:]:
            yield _made(kind, least | {name: value} | fixed)
    yield _made(kind, {name: values[-1] for name, values in ends.items()} | fixed)


def _made(kind: type[Message], values: dict[str, Any]) -> Message:
    return kind.model_validate_json(json.dumps(values))


def _ends(schema: Schema, definitions: dict[str, Schema]) -> Iterator[Any]:
    """What a value of the schema can be at its ends, the least first and the most last."""
    match schema:
        case {"$ref": reference}:
            yield from _object_ends(definitions[reference.rpartition("/")[2]], definitions)
        case {"anyOf": kinds}:
            for each in reversed(kinds):
                yield from _ends(each, definitions)
        case {"enum": values}:
            yield from values
        case {"const": value}:
            yield value
        case {"type": "boolean"}:
            yield from (False, True)
        case {"type": "null"}:
            yield None
        case {"type": "integer"}:
            yield from (schema.get("minimum", FAR_INTEGERS[0]), schema.get("maximum", FAR_INTEGERS[1]))
        case {"type": "number"}:
            yield from (schema.get("minimum", -MAX_NUMBER), 5e-324, schema.get("maximum", MAX_NUMBER))
        case {"type": "string", "format": "base64url"}:
            yield from ("", base64.urlsafe_b64encode(b"\xff" * schema["maxLength"]).decode())
        case {"type": "string"}:
            yield from _text_ends(
                schema.get("pattern", ""), schema.get("minLength", 0), schema.get("maxLength", LONGEST_FREE_TEXT)
            )
        case {"type": "array", "prefixItems": items}:
            ends = [tuple(_ends(item, definitions)) for item in items]
            yield [values[0] for values in ends]
            yield [values[-1] for values in ends]
        case {"type": "array", "items": item}:
            for count in (schema.get("minItems", 0), schema["maxItems"]):
                for end in dict.fromkeys(map(json.dumps, _ends(item, definitions))):
                    yield [json.loads(end)] * count
        case {"type": "object", "patternProperties": dict(values)}:
            (value,) = values.values()
            yield from _mapping_ends(schema, _ends(value, definitions))
        case _:
            raise AssertionError(f"no ends are known of a value like {schema}")


def _mapping_ends(schema: Schema, ends: Iterator[Any]) -> Iterator[Any]:
    """ends: of its values."""
    yield {}
    longest = schema["propertyNames"]["maxLength"]
    names = [f"{number:0{longest}d}" for number in range(schema["maxProperties"])]
    for end in ends:
        yield dict.fromkeys(names, end)


def _object_ends(schema: Schema, definitions: dict[str, Schema]) -> Iterator[Any]:
    ends = {name: tuple(_ends(part, definitions)) for name, part in schema["properties"].items()}
    yield {name: values[0] for name, values in ends.items()}
    yield {name: values[-1] for name, values in ends.items()}


@cache
def _text_ends(pattern: str, shortest: int, longest: int) -> tuple[str, ...]:
    if not pattern:
        return ("x" * shortest, "\0" * longest, "😀" * longest)
    for prefix in ("", "/"):
        letters = [letter for letter in PRINTABLE if re.search(pattern, prefix + letter * 64)]
        letters += [letter for letter in PRINTABLE if re.search(pattern, prefix + letter)]
        lengths = [n for n in range(shortest, longest + 1) if letters and re.search(pattern, prefix + letters[0] * n)]
        lengths = [n for n in lengths if len(prefix) + n <= longest]
        if lengths:
            return (prefix + letters[0] * lengths[0], prefix + letters[-1] * lengths[-1])
    raise AssertionError(f"no text is known that fits {pattern}")
