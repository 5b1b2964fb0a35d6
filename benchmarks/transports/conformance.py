"""A plugin of pytest with which the suite that every transport must pass runs on iroh in place of libp2p's daemons.

    pytest -p benchmarks.transports.conformance tests/net/test_conformance.py -k "libp2p and not direct"

Owns how iroh's endpoints are made and closed in a scenario. Does not know the scenarios.
"""

from __future__ import annotations

from tests.transports import real_makers

from benchmarks.transports.iroh_transport import IrohTransport
from gossiptrain.net.identity import Identity
from gossiptrain.net.transport import Transport


class IrohMaker:
    """Makes the transports of one scenario."""

    def __init__(self) -> None:
        self._made: list[IrohTransport] = []
        self._identities: dict[str, Identity] = {}

    async def __call__(self, name: str) -> Transport:
        """Starts, or starts again, the peer of that name."""
        self._made.append(await IrohTransport.start(self._identities.setdefault(name, Identity.generate())))
        return self._made[-1]

    async def close(self) -> None:
        """Closes all of them."""
        for transport in self._made:
            await transport.close()


real_makers["libp2p"] = IrohMaker
