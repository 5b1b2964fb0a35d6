"""What libp2p's daemon says when it refuses, in plain words.

Owns the reading of its messages. They may contain what other peers said, so nothing of them passes unchecked.
"""

from __future__ import annotations

import re

UNKNOWN_PROTOCOL = "the peer does not speak this protocol"
TOO_SOON = "it could not be reached a moment ago"
"""libp2p waits some seconds before it dials again where it has just failed."""
_MAX_LENGTH = 300
_REASONS = (
    (re.compile(r"peer id mismatch: expected \w+, but remote key matches (\w+)"), r"another peer lives there: \1"),
    (re.compile(r"connection refused"), "connection refused: nothing listens there"),
    (re.compile(r"protocols? not supported"), UNKNOWN_PROTOCOL),
    (re.compile(r"no addresses"), "no address of the peer is known"),
    (re.compile(r"dial to self"), "this is the address of the peer itself"),
    (re.compile(r"no route to host|network is unreachable"), "there is no way to this address"),
    (re.compile(r"timeout|deadline exceeded"), "no answer"),
    (re.compile(r"dial backoff"), TOO_SOON),
)
"""What is found in a message, and what it means. The first that is found counts."""


def plain_reason(message: str) -> str:
    """The reason in `message`; where it is none of the known ones, its printable letters, at most 300."""
    for pattern, words in _REASONS:
        if found := pattern.search(message):
            return found.expand(words)
    return "".join(letter if letter.isprintable() else " " for letter in message[:_MAX_LENGTH])
