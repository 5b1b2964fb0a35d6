"""What two nodes say to each other over libp2p to agree on a direct connection.

Owns these words and their bounds, and the first bytes on a new connection. The opener asks and is made an offer; where
it cannot dial, it asks to be called back. Neither side names a host: each is dialled only where libp2p is connected to
it, so that nobody can have a third party dialled. Does not know what follows from any of the words.
"""

from __future__ import annotations

import secrets
from typing import Annotated

from pydantic import Field, StringConstraints

from gossiptrain.net.direct.tls import MAX_CERTIFICATE_BYTES
from gossiptrain.net.framing import Message

TOKEN_BYTES = 32
MAGIC = b"gossiptrain direct\0"
PREAMBLE_BYTES = len(MAGIC) + 2 * TOKEN_BYTES
"""What is sent first on a new connection: fixed bytes, then the token in hexadecimal digits. The token is the other
side's choice; like this it can never be a request in the language of whatever listens there."""

Certificate = Annotated[str, StringConstraints(max_length=2 * MAX_CERTIFICATE_BYTES, pattern=r"^([0-9a-f]{2})+$")]
Token = Annotated[str, StringConstraints(pattern=rf"^[0-9a-f]{{{2 * TOKEN_BYTES}}}$")]
Port = Annotated[int, Field(ge=0, le=65535)]


class NoDirectConnectionError(ConnectionError):
    """No connection could be had, though the peer may well be there."""


class DirectRequest(Message):
    """The opener asks for a connection, and says by which certificate it will be known."""

    certificate: Certificate


class DirectOffer(Message):
    """Where the connection can be dialled, with which token, and which certificate will answer.

    At the address at which libp2p is connected to this side, and at these ports, by version of IP; 0: not at all.
    """

    certificate: Certificate
    token: Token
    port_ip4: Port
    port_ip6: Port


class CallBack(Message):
    """The opener could not dial: the other side may, with the token of its own offer.

    At the address at which libp2p sees the opener, and at these ports, by version of IP; 0: not at all.
    """

    port_ip4: Port
    port_ip6: Port


class Punch(Message):
    """Both stand behind routers: each calls the other at once, where the relay between them sees it, at this port.

    0: the sender's router shows another one. Either side is only ever called where a relay that its own user has named
    sees the other one.
    """

    port: Port


class WhereIs(Message):
    """A question to a relay: where does it see this peer?"""

    peer: Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[0-9A-Za-z]+$")]


class SeenAt(Message):
    """The answer of the relay: there its connection comes from; an empty host: it has none."""

    host: Annotated[str, StringConstraints(max_length=45, pattern=r"^[0-9a-f.:]*$")]
    port: Port


class CalledBack(Message):
    """The connection has been dialled the other way round."""


class DirectRefusal(Message):
    """There is no connection to this node, or none to the one that asks."""


def preamble(token: bytes) -> bytes:
    """The first bytes on a connection that is good for `token`."""
    return MAGIC + token.hex().encode()


def token_in(first_bytes: bytes) -> str | None:
    """The token that `PREAMBLE_BYTES` bytes show; None where they are something else."""
    token = first_bytes.removeprefix(MAGIC)
    return token.decode("ascii", "replace") if len(token) == 2 * TOKEN_BYTES else None


def new_token() -> str:
    """Good for one connection, and not to be guessed."""
    return secrets.token_hex(TOKEN_BYTES)
