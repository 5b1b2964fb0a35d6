"""What a joiner and its donors say to each other, as typed messages.

Owns the words on the wire and their bounds. Does not know when they are said.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gossiptrain.config import MOST_FRAGMENTS
from gossiptrain.net.framing import Message
from gossiptrain.swarm.messages import MAX_COUNT, MAX_MEMBERS, Count, HexText, PeerText, ShortText


class StateRequest(Message):
    """A joiner asks a donor what it can give."""

    chunk_elements: Annotated[int, Field(ge=1, le=MAX_COUNT)]
    """How long the chunks are to be that it compares and asks for; the last one is shorter."""
    average: HexText = ""
    """Digest of the average that it wants: the donor is asked to help another one, and only if it holds the same."""
    fragment: Annotated[int, Field(ge=0, le=MOST_FRAGMENTS - 1)] = 0
    """Which part of the model it asks for."""
    moments: bool = False
    """Whether it asks for what the optimizer keeps of that part, the second moments of Adam, and not for the part."""


class StateOffer(Message):
    """The donor's answer. The BLAKE3 digests of all chunks, as little-endian float32, follow as raw bytes."""

    elements: Count
    step: Count
    """Where the parameters stand."""
    average: HexText = ""
    """Digest of the average that they are, in part at least; empty where nobody else can hold the same."""
    members: Annotated[tuple[PeerText, ...], Field(max_length=MAX_MEMBERS)] = ()
    """Of the round that made it: who else may give the same chunks."""


class ChunkRequest(Message):
    """The joiner asks for one chunk of what was offered. It follows as raw bytes; requests may be sent ahead."""

    index: Count


class StateRefusal(Message):
    """The donor cannot give its state now, or not the one that is wanted."""

    reason: ShortText
