"""Addresses in the bytes in which libp2p's daemon takes and gives them.

Owns both directions. What the daemon gives may come from others, and the library that reads it fails in ways of its own
where it is no address. Owns the form of an address that names a peer on the way, a relay: hivemind writes the id of
such a peer as a content identifier, which the daemon cannot read, so that no relayed address could ever be dialled.
Does not know what lives at an address.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator

from gossiptrain.net.libp2p.hivemind_names import Multiaddr, PeerID

_PEER = re.compile(r"/p2p/([^/]+)")
_PEER_CODE = b"\xa5\x03"
"""421 as a variable-length integer: the code of `p2p`, https://github.com/multiformats/multiaddr/blob/master/protocols.csv"""

_MOST_BYTES = 1024
"""Of an address that is read: more than any has. Numbers in it may be as long as it is, and take quadratic time."""


def packed_address(place: str) -> bytes:
    """The bytes of a multiaddr. Raises ValueError where it is none that libp2p can read."""
    found = b""
    for position, part in enumerate(_PEER.split(place)):
        if position % 2:
            identity: bytes = PeerID.from_base58(part).to_bytes()
            found += _PEER_CODE + bytes([len(identity)]) + identity
        elif part:
            found += Multiaddr(part).to_bytes()
    return found


def address_text(packed: bytes) -> str:
    """The multiaddr that these bytes are. Raises ValueError where they are none."""
    if len(packed) > _MOST_BYTES:
        raise ValueError("the bytes are more than any address has")
    try:
        return str(Multiaddr(packed))
    except (TypeError, LookupError, OverflowError, EOFError) as error:
        fault = type(error).__name__
    raise ValueError(f"the bytes are no address: {fault}")


def readable_texts(packed: Iterable[bytes]) -> Iterator[str]:
    """The multiaddrs among them; what is none is passed over."""
    for one in packed:
        with contextlib.suppress(ValueError):
            yield address_text(one)
