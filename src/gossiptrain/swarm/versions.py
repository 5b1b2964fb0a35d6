"""Which heartbeats one peer has and another one lacks, by their versions alone.

Pure: does not know what heartbeats say, nor how versions travel. Before two peers pass heartbeats to each other they
compare versions, so that only what is new to one of them takes up the link between them; this is the anti-entropy of
Demers et al., Epidemic Algorithms for Replicated Database Maintenance (1987), 1.3.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import zip_longest

from gossiptrain.net.transport import PeerId

KEY_LENGTH = 16
"""Characters by which a peer is named here. Not even on purpose are two identities made that share their last 16."""

Version = tuple[int, int]
"""Incarnation and counter of a heartbeat: the larger one was said later."""


def key_of(peer: PeerId) -> str:
    """The end of its id, which suffices to tell the peers of a swarm apart."""
    return peer[-KEY_LENGTH:]


def lacking(
    has: Mapping[str, Version], gives: Mapping[str, Version], rng: random.Random, *, most_unknown: int
) -> list[str]:
    """Keys of which the side that has `has` gets something newer from the side that has `gives`, most urgent first.

    Those it knows come in the order in which it is behind, since it must not lose them for want of news; those it does
    not know come by chance, so that none of them waits for ever. Where there is no room for all, each kind gets half.
    most_unknown: of how many that it does not know it is to hear.
    """
    behind = [key for key, version in gives.items() if key in has and has[key] < version]
    behind.sort(key=lambda key: (has[key][0] - gives[key][0], has[key][1] - gives[key][1], key))
    unknown = sorted(key for key in gives if key not in has)
    unknown = rng.sample(unknown, min(most_unknown, len(unknown)))
    return [key for pair in zip_longest(behind, unknown) for key in pair if key is not None]
