"""Addresses in the bytes in which libp2p's daemon takes them.

Owns that form where an address names a peer on the way, a relay. hivemind writes the id of such a peer as a content
identifier, which the daemon cannot read, so that no relayed address could ever be dialled. Does not know what lives at
an address.
"""

from __future__ import annotations

import re

from gossiptrain.net.libp2p.hivemind_names import Multiaddr, PeerID

_PEER = re.compile(r"/p2p/([^/]+)")
_PEER_CODE = b"\xa5\x03"
"""421 as a variable-length integer: the code of `p2p`, https://github.com/multiformats/multiaddr/blob/master/protocols.csv"""


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
