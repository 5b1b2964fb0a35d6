"""What of a run stands in the directory: where each of its peers lives.

Owns the names and the form of these entries. Those of a private swarm are noise to everybody who is no member: neither
the run nor any address can be read from them. Whatever others have put there is checked before it is believed to be
anything at all. Does not know when entries are renewed, nor what is done with what is found.
"""

from __future__ import annotations

from gossiptrain.net.transport import MAX_VALUE_BYTES, PeerId
from gossiptrain.swarm.access.secret import OVERHEAD_BYTES
from gossiptrain.swarm.address_book import peer_of
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.intake import addresses_in, directory_entry


class Rendezvous:
    """The entries of one run, as one peer writes and reads them."""

    def __init__(self, admission: Admission) -> None:
        self._transport = admission.transport
        self._secret = None if admission.access is None else admission.access.secret
        run_key = admission.fingerprint.key
        self.key = run_key if self._secret is None else self._secret.name_of(f"run {run_key}")
        """Of the directory."""

    async def tell(self, *, lifetime_s: float) -> None:
        """Puts the own addresses there."""
        name, addresses = self._name(self._transport.peer_id), self._transport.addresses
        if self._secret is None:
            entry = directory_entry(addresses)
        else:
            plain = directory_entry(addresses, limit_bytes=MAX_VALUE_BYTES - OVERHEAD_BYTES)
            entry = self._secret.seal(plain, self._context(name))
        await self._transport.directory.put(self.key, name, entry, lifetime_s=lifetime_s)

    async def found(self) -> list[tuple[PeerId, tuple[str, ...]]]:
        """The peers that stand there, in the order of their names, and their addresses; this one is among them."""
        entries = sorted((await self._transport.directory.get(self.key)).items())
        read = (self._read(name, value) for name, value in entries)
        return [entry for entry in read if entry is not None]

    def _read(self, name: str, value: bytes) -> tuple[PeerId, tuple[str, ...]] | None:
        if self._secret is None:
            addresses = addresses_in(value)
            return (PeerId(name), addresses) if addresses else None
        try:
            addresses = addresses_in(self._secret.open(value, self._context(name)))
        except ValueError:
            return None
        peer = peer_of(addresses[0]) if addresses else None
        return (peer, addresses) if peer is not None and self._name(peer) == name else None

    def _name(self, peer: PeerId) -> str:
        return peer if self._secret is None else self._secret.name_of(f"peer {peer}")

    def _context(self, name: str) -> bytes:
        return f"directory {self.key} {name}".encode()
