"""What `--join` may be followed by: nothing, where somebody of the swarm is, or a link.

Owns which word after it belongs to it, and what each kind means for the settings. Does not look for anybody, nor into a
link.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gossiptrain.cli.flags import with_values
from gossiptrain.errors import UsageError

FLAG = "--join"
NEARBY = "nearby"
"""Stands for the local network, where nothing follows the flag."""


def with_places(arguments: Sequence[str]) -> list[str]:
    """The arguments with `NEARBY` after each `--join` that no place follows, since a flag has a value or has none."""
    return with_values(arguments, FLAG, is_value=_is_place, otherwise=NEARBY)


def network_settings(words: Sequence[str] | None) -> dict[str, Any]:
    """What the words after `--join` fill of the network settings."""
    words = words or ()
    addresses = [word for word in words if word.startswith("/")]
    return {"initial_peers": addresses, "search_local_network": NEARBY in words or None}


def link_of(words: Sequence[str] | None) -> str | None:
    """The one among them that is a link, or says where one is to be read; None where there is none.

    Raises UsageError for several, without quoting them.
    """
    links = [word for word in words or () if word != NEARBY and not word.startswith("/")]
    if len(links) > 1:
        raise UsageError(f"{FLAG} was given {len(links)} links.", remedy="Each leads to one swarm; give one of them.")
    return links[0] if links else None


def _is_place(word: str) -> bool:
    return word in (NEARBY, "-") or word.startswith(("/", "@")) or "://" in word
