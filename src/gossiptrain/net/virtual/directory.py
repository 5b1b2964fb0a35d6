"""What the directory of a network in memory holds, and who sees which part of it.

Owns that a cut splits the directory, as it splits one of which every peer keeps a part: what is put on one side is not
seen from the other, also after the cut is healed, until somebody of one side is made known to somebody of the other.
Does not know wires or peers beyond their names.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A value, who put it there, and when it expires."""

    owner: str
    value: bytes
    expires_at_s: float


class VirtualEntries:
    """The entries by key and subkey, and the pairs of peers that a cut has parted."""

    def __init__(self) -> None:
        self._entries: dict[str, dict[str, Entry]] = {}
        self._parted: defaultdict[str, set[str]] = defaultdict(set)
        self._peers: dict[str, None] = {}
        """All that ever used the directory: each keeps a part of it and leads to the others."""

    def part(self, one: str, other: str) -> None:
        """From now on neither leads to what the other keeps."""
        self._parted[one].add(other)
        self._parted[other].add(one)

    def are_parted(self, one: str, other: str) -> bool:
        """Whether a cut lay between the two, and they have not been made known to each other since."""
        return other in self._parted.get(one, ())

    def join(self, one: str, other: str) -> None:
        """Makes two peers known to each other again."""
        self._parted[one].discard(other)
        self._parted[other].discard(one)

    def store(self, key: str, subkey: str, entry: Entry) -> None:
        """Keeps an entry where its owner is."""
        self._peers[entry.owner] = None
        self._entries.setdefault(key, {})[subkey] = entry

    def find(self, key: str, seeker: str, *, now_s: float) -> dict[str, bytes]:
        """The living entries of a key to which `seeker` is led, from one peer to the next."""
        entries = self._entries.pop(key, {})
        live = {subkey: entry for subkey, entry in entries.items() if entry.expires_at_s > now_s}
        if live:
            self._entries[key] = live
        seen = self._led_to(seeker)
        return {subkey: entry.value for subkey, entry in live.items() if entry.owner in seen}

    def _led_to(self, seeker: str) -> set[str]:
        self._peers[seeker] = None
        not_seen = set(self._peers) - {seeker}
        to_ask = {seeker}
        while to_ask:
            found = not_seen - self._parted.get(to_ask.pop(), set())
            not_seen -= found
            to_ask |= found
        return set(self._peers) - not_seen
