"""What peers say to each other, as it was when it was last agreed upon: the form of every message.

Owns `messages.json`, with the protocol version that it belongs to, and how it is renewed: `python -m tests.golden`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gossiptrain.core.fingerprint import PROTOCOL_VERSION
from gossiptrain.net.direct import connection as direct_connection
from gossiptrain.net.direct import messages as direct_messages
from gossiptrain.net.libp2p import dial_back
from gossiptrain.simulate.swarms.extremes import messages_of
from gossiptrain.swarm import messages, recipe_messages, state_messages, status_messages

GOLDEN = Path(__file__).with_name("messages.json")
MODULES = (
    messages,
    recipe_messages,
    state_messages,
    status_messages,
    direct_messages,
    direct_connection,
    dial_back,
)
"""All in which there are messages between peers."""
NOT_SENT = ("title", "description")
"""Parts of a schema that are for people: changing them changes nothing on the wire."""


def schemas() -> dict[str, Any]:
    """By name of the message, its fields with their types and bounds."""
    kinds = sorted(messages_of(*MODULES), key=lambda kind: kind.__name__)
    return {kind.__name__: _bare(kind.model_json_schema()) for kind in kinds}


def _bare(schema: Any, *, names_fields: bool = False) -> Any:
    """names_fields: the keys are names of fields, which may be called like a part of a schema."""
    if isinstance(schema, dict):
        kept = schema if names_fields else {key: value for key, value in schema.items() if key not in NOT_SENT}
        return {key: _bare(kept[key], names_fields=key in ("properties", "$defs")) for key in sorted(kept)}
    return [_bare(part) for part in schema] if isinstance(schema, list) else schema


def difference(golden: dict[str, Any]) -> list[str]:
    """Which messages are not what `golden` says of them."""
    known, now = golden["messages"], schemas()
    return sorted(name for name in known.keys() | now.keys() if known.get(name) != now.get(name))


def read() -> dict[str, Any]:
    """The golden file."""
    found: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return found


def renewed() -> str:
    """What the golden file should hold."""
    return json.dumps({"version": PROTOCOL_VERSION, "messages": schemas()}, indent=1) + "\n"
