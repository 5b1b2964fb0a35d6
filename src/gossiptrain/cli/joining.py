"""What `--join` may be followed by: nothing, or where somebody of the swarm is.

Owns which word after it belongs to it, and what each kind means for the settings. Another kind of word, such as a link,
is one more case of `network_settings`. Does not look for anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gossiptrain.errors import UsageError

FLAG = "--join"
NEARBY = "nearby"
"""Stands for the local network, where nothing follows the flag."""


def with_places(arguments: Sequence[str]) -> list[str]:
    """The arguments with `NEARBY` after each `--join` that no place follows, since a flag has a value or has none."""
    found: list[str] = []
    for position, argument in enumerate(arguments):
        if argument == "--":
            return [*found, *arguments[position:]]
        found.append(argument)
        following = arguments[position + 1 : position + 2]
        if argument == FLAG and not (following and _is_place(following[0])):
            found.append(NEARBY)
    return found


def network_settings(places: Sequence[str] | None) -> dict[str, Any]:
    """What the words after `--join` fill of the network settings. Raises UsageError for one of no known kind."""
    named = [place for place in places or () if place != NEARBY]
    for place in named:
        if not place.startswith("/"):
            raise UsageError(
                f"{FLAG} {place}: this says nowhere where a peer could be.",
                remedy=f"{FLAG} alone looks on the local network; {FLAG} /ip4/.../tcp/.../p2p/... names a peer.",
            )
    return {"initial_peers": named, "search_local_network": NEARBY in (places or ()) or None}


def _is_place(word: str) -> bool:
    return word == NEARBY or word.startswith("/") or "://" in word
