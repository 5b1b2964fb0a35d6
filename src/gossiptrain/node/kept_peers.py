"""What the trainer's side keeps of the network between one node and the next, and in a file between runs.

Owns the book of known peers and the ports that the node had, and the file of both, which counts as hostile until it
is checked. Does not dial anybody.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from gossiptrain.errors import AddressError
from gossiptrain.net.addresses import parse_dial_address
from gossiptrain.net.old_ports import ports_of
from gossiptrain.net.small_files import read_bounded, replace_whole
from gossiptrain.net.transport import PeerId
from gossiptrain.node import control
from gossiptrain.swarm.address_book import MAX_ADDRESSES, MAX_PEERS, AddressBook, named_addresses

_logger = logging.getLogger(__package__)
LIMIT_BYTES = 2 << 20
"""More than a full book takes."""
MOST_HANDED_ON = 64
"""Peers that a new node is told of: those that live or were seen last."""
WRITE_S = 2.0
"""Least time between two writings of the file."""

_Text = Annotated[str, StringConstraints(max_length=256)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class _KeptPeer(_Part):
    addresses: Annotated[list[_Text], Field(max_length=MAX_ADDRESSES)]
    seen: Annotated[float, Field(ge=0, le=1e12)]
    """Unix time in seconds."""


class _Kept(_Part):
    format: Literal["gossiptrain peers"] = "gossiptrain peers"
    version: Literal[1] = 1
    ports: Annotated[dict[_Text, Annotated[int, Field(ge=1, le=65535)]], Field(max_length=8)]
    """By kind, such as `ip4/tcp`, at which the node listened last."""
    peers: Annotated[dict[_Text, _KeptPeer], Field(max_length=MAX_PEERS)]


class KeptPeers:
    """The address book of one peer, from its trainer's side. Used in one thread at a time."""

    def __init__(
        self, path: Path | None, named: Sequence[str] = (), *, unix_time: Callable[[], float] = time.time
    ) -> None:
        """path: the file; None: nothing outlives this object. named: addresses that are known from elsewhere."""
        self.ports: dict[str, int] = {}
        self._problem = ""
        self._path = path
        self._unix_time = unix_time
        self._book = AddressBook()
        self._changed = False
        self._written_s = -float("inf")
        if path is not None:
            self._read(path)
        self._book.note_named(named, now_s=0.0, initial=False)
        self._known_before = len(self._book.peers())

    @property
    def known(self) -> tuple[str, ...]:
        """The addresses, with `/p2p/ID`, of those that live or were seen last."""
        return named_addresses(self._book.peers(), most=MOST_HANDED_ON)

    def warnings(self, *, alone: bool) -> list[str]:
        """What a person should know when the node has met the swarm, or nobody."""
        found = [self._problem] if self._problem else []
        if alone and self._known_before:
            who = f"none of the peers that are known from before ({self._known_before}) answers"
            found.append(f"{who}; training goes on alone, and they are tried again and again")
        return found

    def note(self, message: control.PeerChanged | control.NodeReady) -> None:
        """Learns from what the node says."""
        now_s = self._unix_time()
        if isinstance(message, control.NodeReady):
            self.ports = ports_of(message.addresses)
        elif message.change in ("joined", "moved"):
            self._book.note(PeerId(message.peer), message.addresses, now_s=now_s)
        elif message.change == "lost":
            self._book.lose(PeerId(message.peer), now_s=now_s)
        elif message.change == "left":
            self._book.drop(PeerId(message.peer), now_s=now_s)
        else:
            return
        self._changed = True

    def write(self, *, at_once: bool = False) -> None:
        """Writes the file where something has changed and the last time is a while ago; never raises for the disk."""
        due = at_once or time.monotonic() - self._written_s >= WRITE_S
        if self._path is None or not self._changed or not due:
            return
        self._written_s = time.monotonic()
        peers: dict[str, _KeptPeer] = {
            known.peer: _KeptPeer(addresses=list(known.addresses), seen=known.seen_s) for known in self._book.peers()
        }
        try:
            replace_whole(self._path, _Kept(ports=self.ports, peers=peers).model_dump_json(indent=1).encode())
        except (OSError, ValidationError) as error:
            _logger.info("the addresses of other peers cannot be kept in %s: %s", self._path, error)
            return
        self._changed = False

    def _read(self, path: Path) -> None:
        try:
            content = read_bounded(path, limit_bytes=LIMIT_BYTES)
            kept = None if content is None else _Kept.model_validate_json(content)
        except (OSError, ValueError) as error:
            reason = "it is not as it should be" if isinstance(error, ValidationError) else str(error)
            self._problem = f"the addresses of other peers in {path} cannot be used: {reason}"
            return
        if kept is None:
            return
        self.ports = dict(kept.ports)
        latest_last = sorted(kept.peers.items(), key=lambda item: item[1].seen)
        for peer, entry in latest_last:
            usable = [address for address in entry.addresses if _leads_to(address, peer)]
            self._book.note_named(usable, now_s=entry.seen, initial=False)


def _leads_to(address: str, peer: str) -> bool:
    try:
        return parse_dial_address(address).peer == peer
    except AddressError:
        return False
