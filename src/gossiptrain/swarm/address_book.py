"""Where other peers live: all addresses of each, also of those that are lost, and when each is worth another try.

Owns the bounds of the book, what is kept of whom and for how long, and the pauses between tries. Pure data: it is told
the time, dials nobody and reads no files.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gossiptrain.net.transport import PeerId

MAX_PEERS = 256
MAX_ADDRESSES = 16
"""Of one peer."""
KEPT_S = 24 * 3600.0
"""A peer that was lost so long ago is given up, unless it is an initial one."""
_P2P = "/p2p/"


@dataclass
class _Entry:
    addresses: tuple[str, ...]
    seen_s: float
    """When it was met last, or lost."""
    lives: bool
    initial: bool = False
    """Whether a person named it; such a peer is never given up."""
    proved: bool = True
    """Whether the peer itself was met, not only somebody who says where it lives."""
    tries: int = 0
    due_s: float = -math.inf


@dataclass(frozen=True)
class KnownPeer:
    """What the book says of one peer. seen_s: on the clock of whoever keeps the book."""

    peer: PeerId
    addresses: tuple[str, ...]
    seen_s: float


def pause_s(tries: int) -> float:
    """Seconds until a lost peer is tried again, after so many tries without success.

    About every 5 s in the first ten minutes, every 10 s in the first hour, every 15 s from then on: a swarm that was
    cut apart is one again soon after the cut is healed, however long it was.
    """
    if tries < 4:
        return float(2 ** max(0, tries - 1))
    return 5.0 if tries < 120 else 10.0 if tries < 420 else 15.0


UNPROVED_TRIES = 10
SELDOM_TRIES = 420
"""So many tries are counted for a peer that answers and is no member: it is asked again, but not often."""


class AddressBook:
    """The peers that were met or named, by id. Bounded: who has been lost for the longest makes room."""

    def __init__(self) -> None:
        self._entries: dict[PeerId, _Entry] = {}
        self._lost: dict[PeerId, None] = {}
        self._living: dict[PeerId, None] = {}
        """All but the initial ones, by whether they live; who was met or lost last stands last."""

    def __contains__(self, peer: object) -> bool:
        return peer in self._entries

    def note(self, peer: PeerId, addresses: Iterable[str], *, now_s: float) -> bool:
        """Notes that a peer lives, and where, and says whether it had been lost."""
        before = self._entries.get(peer)
        was_lost = before is not None and not before.lives
        initial = before is not None and before.initial
        found = _without_doubles((*addresses, *(before.addresses if before is not None and initial else ())))
        self._enter(peer, _Entry(found, now_s, lives=True, initial=initial))
        self._make_room(keep=peer)
        return was_lost

    def note_named(self, addresses: Iterable[str], *, now_s: float, initial: bool) -> None:
        """Notes addresses that end in `/p2p/ID` without knowing whether anyone lives there; others are passed over.

        initial: whether to go on trying for ever.
        """
        for address in addresses:
            peer = peer_of(address)
            if peer is None:
                continue
            entry = self._entries.get(peer) or _Entry((), now_s, lives=False)
            entry.addresses = _without_doubles((*entry.addresses, address))
            if peer not in self._entries or (initial and not entry.initial):
                entry.initial = initial
                self._enter(peer, entry)
            self._make_room(keep=peer)

    def lose(self, peer: PeerId, *, proved: bool = True, now_s: float) -> None:
        """Notes that a peer does not answer any more. It is due for another try soon.

        proved: whether it was ever met itself. If not, it is given up after a few tries: anybody may say that somebody
        lives at any address.
        """
        entry = self._entries.get(peer)
        if entry is not None and entry.lives:
            entry.lives, entry.seen_s, entry.proved = False, now_s, proved
            entry.tries, entry.due_s = 0, now_s + pause_s(0)
            self._enter(peer, entry)

    def drop(self, peer: PeerId, *, now_s: float) -> None:
        """Forgets a peer that has said goodbye. An initial one is only lost: it may be started again there."""
        entry = self._entries.get(peer)
        if entry is not None and entry.initial:
            self.lose(peer, now_s=now_s)
        elif entry is not None:
            self._remove(peer)

    def tried(self, peer: PeerId, *, pause_factor: float, now_s: float, at_least: int = 0) -> None:
        """Counts a try that begins now; the next is due after the pause times `pause_factor`."""
        entry = self._entries.get(peer)
        if entry is not None:
            entry.tries = max(entry.tries + 1, at_least)
            entry.due_s = now_s + pause_factor * pause_s(entry.tries)

    def due(self, now_s: float) -> list[PeerId]:
        """The lost ones that are worth another try. Who was lost too long ago is given up here."""
        for peer in [peer for peer, entry in self._entries.items() if _is_given_up(entry, now_s)]:
            self._remove(peer)
        return [peer for peer, entry in self._entries.items() if not entry.lives and entry.due_s <= now_s]

    def lost(self) -> list[PeerId]:
        """All that are not known to live, the latest first."""
        return [known.peer for known in self.peers() if not self._entries[known.peer].lives]

    def is_initial(self, peer: PeerId) -> bool:
        """Whether a person named the peer."""
        return peer in self._entries and self._entries[peer].initial

    def addresses(self, peer: PeerId) -> tuple[str, ...]:
        """All known addresses of a peer; none for one that is not in the book."""
        return self._entries[peer].addresses if peer in self._entries else ()

    def peers(self) -> list[KnownPeer]:
        """All of whom an address is known: those that live, then the lost, the latest first."""
        latest_first = sorted(self._entries.items(), key=lambda item: (not item[1].lives, -item[1].seen_s))
        return [KnownPeer(peer, entry.addresses, entry.seen_s) for peer, entry in latest_first if entry.addresses]

    def _enter(self, peer: PeerId, entry: _Entry) -> None:
        self._remove(peer)
        self._entries[peer] = entry
        if not entry.initial:
            (self._living if entry.lives else self._lost)[peer] = None

    def _remove(self, peer: PeerId) -> None:
        for place in (self._entries, self._lost, self._living):
            place.pop(peer, None)

    def _make_room(self, *, keep: PeerId) -> None:
        """The lost go before those that live, and among these who was seen least lately; initial ones last."""
        while len(self._entries) > MAX_PEERS:
            in_turn = itertools.chain(self._lost, self._living, self._entries)
            self._remove(next(peer for peer in in_turn if peer != keep))


def peer_of(address: str) -> PeerId | None:
    """The peer that an address ends in; None where it names none."""
    _, mark, peer = address.rstrip("/").rpartition(_P2P)
    return PeerId(peer) if mark and peer and "/" not in peer else None


def named_addresses(peers: Iterable[KnownPeer], *, most: int) -> tuple[str, ...]:
    """Of the first `most` peers, all addresses, each with `/p2p/ID` at its end."""
    return tuple(
        address if peer_of(address) == known.peer else f"{address.rstrip('/')}{_P2P}{known.peer}"
        for known in itertools.islice(peers, most)
        for address in known.addresses
    )


def _is_given_up(entry: _Entry, now_s: float) -> bool:
    if entry.lives or entry.initial:
        return False
    return now_s - entry.seen_s > KEPT_S or (entry.tries >= UNPROVED_TRIES and not entry.proved)


def _without_doubles(addresses: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(addresses))[:MAX_ADDRESSES]
