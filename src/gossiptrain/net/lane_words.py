"""What two nodes say to each other over libp2p to agree on a lane.

Owns these words and their bounds. The opener asks and is made an offer; where it cannot dial what was offered, it asks
to be called back. Does not know what follows from any of them.
"""

from __future__ import annotations

import secrets
from typing import Annotated

from pydantic import Field, StringConstraints

from gossiptrain.net.framing import Message
from gossiptrain.net.tls import MAX_CERTIFICATE_BYTES

MAX_PLACES = 8
TOKEN_BYTES = 32

Certificate = Annotated[str, StringConstraints(max_length=2 * MAX_CERTIFICATE_BYTES, pattern=r"^([0-9a-f]{2})+$")]
Token = Annotated[str, StringConstraints(pattern=rf"^[0-9a-f]{{{2 * TOKEN_BYTES}}}$")]
Place = Annotated[str, StringConstraints(max_length=256)]
Port = Annotated[int, Field(ge=0, le=65535)]


class NoLaneError(ConnectionError):
    """No lane could be had, though the peer may well be there."""


class LaneRequest(Message):
    """The opener asks for a lane, and says by which certificate it will be known."""

    certificate: Certificate


class LaneOffer(Message):
    """Where the lane can be dialled, with which token, and which certificate will answer."""

    certificate: Certificate
    token: Token
    places: Annotated[tuple[Place, ...], Field(max_length=MAX_PLACES)]


class CallBack(Message):
    """The opener could not dial: the other side may, with the token of its own offer.

    At the address at which libp2p sees the opener, and at these ports, by version of IP; 0: not at all.
    """

    port_ip4: Port
    port_ip6: Port


class CalledBack(Message):
    """The lane has been dialled the other way round."""


class LaneRefusal(Message):
    """There is no lane to this node, or none to the one that asks."""


def new_token() -> str:
    """Good for one connection, and not to be guessed."""
    return secrets.token_hex(TOKEN_BYTES)
