"""The wires of the network in memory: links between peers, and what can be wrong with them.

Owns delay, bandwidth, order, cuts and frozen peers. Does not know streams, protocols or what a peer is beyond its name.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count

_PACED_PIECE_BYTES = 16 << 10
"""With a bandwidth set, bytes travel in pieces of this size, so that they arrive little by little."""


@dataclass(frozen=True)
class LinkSettings:
    """One direction between two peers. `bandwidth_bytes_per_s` None: no limit. `jitter_s`: most added delay.

    lost_share: of all that is sent, which is sent again after `retransmission_s`, and after twice as long where it is
    lost once more, as TCP does: streams lose nothing, so loss is delay. reorders: whether only what belongs to one
    stream arrives in order, as over several connections.
    """

    latency_s: float = 0.001
    jitter_s: float = 0.0
    bandwidth_bytes_per_s: float | None = None
    lost_share: float = 0.0
    retransmission_s: float = 0.2
    reorders: bool = False


@dataclass
class Uplink:
    """What all links from one peer share: their chances, and how fast they carry together.

    `bandwidth_bytes_per_s` None: no limit.
    """

    chances: random.Random
    """One for all of them: each takes 2.5 KB, and there are as many links as pairs of peers."""
    bandwidth_bytes_per_s: float | None = None
    free_at_s: float = 0.0
    sent_bytes: int = 0
    """All that has ever left the peer."""

    def passed_at(self, now_s: float, size_bytes: int) -> float:
        """When `size_bytes` more will have left the peer."""
        self.sent_bytes += size_bytes
        if self.bandwidth_bytes_per_s is None:
            return now_s
        self.free_at_s = max(self.free_at_s, now_s) + size_bytes / self.bandwidth_bytes_per_s
        return self.free_at_s


@dataclass
class Order:
    """Deliveries of which none overtakes another."""

    last_arrival_s: float = 0.0


class Link:
    """Carries deliveries from one peer to another, in order. While it is blocked, they wait."""

    def __init__(self, settings: LinkSettings, uplink: Uplink) -> None:
        self.settings = settings
        self._uplink = uplink
        self._sent: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._free_at_s = 0.0
        self._all = Order()
        self._blocked = False

    def send(self, size_bytes: int, deliver: Callable[[], None], *, order: Order | None = None) -> None:
        """Calls `deliver` once `size_bytes` bytes have crossed the link.

        order: of what it belongs to, where the link keeps the order of each stream alone.
        """
        loop = asyncio.get_running_loop()
        rate = self.settings.bandwidth_bytes_per_s
        crossed_s = max(self._free_at_s, loop.time()) + (size_bytes / rate if rate else 0.0)
        self._free_at_s = max(crossed_s, self._uplink.passed_at(loop.time(), size_bytes))
        arrival_s = self._free_at_s + self._delay_s()
        if not self.settings.reorders:
            arrival_s = max(arrival_s, self._all.last_arrival_s)
        if order is not None:
            arrival_s = order.last_arrival_s = max(arrival_s, order.last_arrival_s)
        self._all.last_arrival_s = max(arrival_s, self._all.last_arrival_s)
        heapq.heappush(self._sent, (arrival_s, next(self._numbers), deliver))
        loop.call_at(arrival_s, self._deliver_due)

    def _delay_s(self) -> float:
        settings, chances = self.settings, self._uplink.chances
        delay_s = settings.latency_s + chances.uniform(0.0, settings.jitter_s)
        wait_s = settings.retransmission_s
        while settings.lost_share and chances.random() < settings.lost_share:
            delay_s += wait_s
            wait_s *= 2
        return delay_s

    @property
    def piece_bytes(self) -> int | None:
        """Most bytes to send at once; None: any number."""
        paced = self.settings.bandwidth_bytes_per_s or self._uplink.bandwidth_bytes_per_s
        return _PACED_PIECE_BYTES if paced else None

    def block(self) -> None:
        """Holds all deliveries back from now on."""
        self._blocked = True

    def unblock(self) -> None:
        """Lets those held back arrive now, and later ones in their time."""
        if self._blocked:
            self._blocked = False
            self._deliver_due()

    def _deliver_due(self) -> None:
        now_s = asyncio.get_running_loop().time()
        # The loop calls a timer up to one clock tick early.
        while not self._blocked and self._sent and self._sent[0][0] <= now_s + 1e-9:
            heapq.heappop(self._sent)[2]()


class Wires:
    """The links between named peers, made when first used.

    cut: nothing arrives over one link, and nobody is told; what was sent arrives when the link is healed.
    freeze: nothing a peer sends or is sent arrives, and nobody is told: its process is stopped, or its power is cut.
    """

    def __init__(self, seed: int, *, default: LinkSettings) -> None:
        self.seed = seed
        self._default = default
        self._links: dict[tuple[str, str], Link] = {}
        self._uplinks: dict[str, Uplink] = {}
        self._cut: set[tuple[str, str]] = set()
        self._frozen: set[str] = set()

    def link(self, source: str, target: str) -> Link:
        """The link that carries from `source` to `target`."""
        if (source, target) not in self._links:
            link = Link(self.settings_between(source, target), self._uplink(source))
            self._links[source, target] = link
            if self._is_blocked(source, target):
                link.block()
        return self._links[source, target]

    def settings_between(self, source: str, target: str) -> LinkSettings:
        """How a link that nobody has used yet carries."""
        return self._default

    @property
    def all_sent_bytes(self) -> int:
        """All that has ever left any peer."""
        return sum(uplink.sent_bytes for uplink in self._uplinks.values())

    def set_link(self, source: str, target: str, *, settings: LinkSettings, both_ways: bool = True) -> None:
        """Changes how a link carries what is sent from now on."""
        for pair in _directions(source, target, both_ways=both_ways):
            self.link(*pair).settings = settings

    def set_uplink(self, peer: str, *, bandwidth_bytes_per_s: float | None) -> None:
        """Limits what `peer` sends to all others together. None: no longer."""
        self._uplink(peer).bandwidth_bytes_per_s = bandwidth_bytes_per_s

    def cut(self, source: str, target: str, *, both_ways: bool = True) -> None:
        """Lets nothing arrive from `source` at `target`, and back with `both_ways`."""
        self._cut.update(_directions(source, target, both_ways=both_ways))
        self._update()

    def heal(self, source: str, target: str, *, both_ways: bool = True) -> None:
        """Ends a cut; what was sent meanwhile arrives now, in order."""
        self._cut.difference_update(_directions(source, target, both_ways=both_ways))
        self._update()

    def cut_all(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Cuts many links at once, each in the one direction that its pair names."""
        self._cut.update(pairs)
        self._update()

    def heal_all(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Ends cuts of many links at once."""
        self._cut.difference_update(pairs)
        self._update()

    def freeze(self, peer: str) -> None:
        """Stops all bytes from and to `peer`; its streams stay open, its tasks run on unheard."""
        self._frozen.add(peer)
        self._update()

    def thaw(self, peer: str) -> None:
        """Lets the bytes of a frozen peer flow again; what was sent meanwhile arrives now, in order."""
        self._frozen.discard(peer)
        self._update()

    def _uplink(self, peer: str) -> Uplink:
        if peer not in self._uplinks:
            self._uplinks[peer] = Uplink(random.Random(f"{self.seed}/{peer}"))
        return self._uplinks[peer]

    def _is_blocked(self, source: str, target: str) -> bool:
        return (source, target) in self._cut or source in self._frozen or target in self._frozen

    def _update(self) -> None:
        for (source, target), link in list(self._links.items()):  # what arrives may need new links
            if self._is_blocked(source, target):
                link.block()
            else:
                link.unblock()


def _directions(source: str, target: str, *, both_ways: bool) -> tuple[tuple[str, str], ...]:
    return ((source, target), (target, source)) if both_ways else ((source, target),)
