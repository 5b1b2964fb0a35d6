"""The network of a simulated swarm: how links carry while some faults go on, and clocks that are wrong.

Owns what the faults of links that last a while amount to together. Does not know plans, peers or when a fault happens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from gossiptrain.net.transport import Clock
from gossiptrain.net.virtual.network import VirtualNetwork
from gossiptrain.net.virtual.wires import LinkSettings
from gossiptrain.simulate.swarms.plan import Latency, Loss, Reorder, region_of

NEAR_S, FAR_S = 0.002, 0.02
"""Usual latencies, one way: within a region, and between two."""
JITTER_SHARE = 0.25

Condition = Latency | Loss | Reorder


class WrongClock(Clock):
    """One that is wrong by `offset_s` and goes `rate` times as fast as time."""

    def __init__(self, offset_s: float, rate: float) -> None:
        self._offset_s = offset_s
        self._rate = rate

    def now(self) -> float:
        return super().now() * self._rate + self._offset_s

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / self._rate)

    def timeout(self, seconds: float) -> asyncio.Timeout:
        return _WrongTimeout(self, self.now() + max(0.0, seconds))

    def loop_time_s(self, own_s: float) -> float:
        """When the event loop's time is so much where this clock shows `own_s`."""
        return (own_s - self._offset_s) / self._rate


class _WrongTimeout(asyncio.Timeout):  # type: ignore[misc]
    """A timeout that is set, when it is entered, and moved by what its wrong clock shows; None: it is never over.

    Its base is final for type checkers, but `Clock` promises one of that kind.
    """

    def __init__(self, clock: WrongClock, when_s: float) -> None:
        super().__init__(when_s)
        self._clock = clock

    def reschedule(self, when: float | None) -> None:
        super().reschedule(None if when is None else self._clock.loop_time_s(when))


class SimulatedNetwork(VirtualNetwork):
    """Peers live in regions; conditions change how links carry for a while."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._conditions: dict[int, Condition] = {}
        self._cuts: dict[int, frozenset[tuple[str, str]]] = {}
        """By fault, the directions that it holds cut; several may hold the same one."""

    def cut_apart(self, number: int, one_side: Sequence[str], other_side: Sequence[str]) -> None:
        """Cuts two sides apart, their directory as well."""
        pairs = [(one, other) for one in one_side for other in other_side]
        for one, other in pairs:
            self.entries.part(one, other)
        self._cuts[number] = frozenset([*pairs, *((other, one) for one, other in pairs)])
        self.cut_all(self._cuts[number])

    def cut_one_way(self, number: int, source: str, target: str) -> None:
        """Nothing arrives from one peer at another."""
        self._cuts[number] = frozenset([(source, target)])
        self.cut_all(self._cuts[number])

    def uncut(self, number: int) -> None:
        """That fault cuts nothing any more; the directory stays split until somebody joins it again."""
        healed = self._cuts.pop(number)
        self.heal_all(healed.difference(*self._cuts.values()))

    def begin(self, number: int, condition: Condition) -> None:
        """From now on links carry as the condition says, as far as it is about them."""
        self._conditions[number] = condition
        self._refresh(condition)

    def end(self, number: int) -> None:
        """The condition of that number is over."""
        condition = self._conditions.pop(number)
        self._refresh(condition)

    def settings_between(self, source: str, target: str) -> LinkSettings:
        latency_s = NEAR_S if region_of(source) == region_of(target) else FAR_S
        settings = LinkSettings(latency_s, JITTER_SHARE * latency_s)
        for condition in self._conditions.values():
            if _is_about(condition)(source, target):
                settings = _under(condition, settings)
        return settings

    def _refresh(self, condition: Condition) -> None:
        concerns = _is_about(condition)
        for (source, target), link in self._links.items():
            if concerns(source, target):
                link.settings = self.settings_between(source, target)


def _is_about(condition: Condition) -> Callable[[str, str], bool]:
    if isinstance(condition, Latency):
        regions = {condition.one_region, condition.other_region}
        return lambda source, target: {region_of(source), region_of(target)} == regions
    return lambda source, target: condition.peer in (source, target)


def _under(condition: Condition, settings: LinkSettings) -> LinkSettings:
    match condition:
        case Latency():
            return replace(
                settings,
                latency_s=settings.latency_s + condition.latency_s,
                jitter_s=settings.jitter_s + condition.jitter_s,
            )
        case Loss():
            return replace(settings, lost_share=max(settings.lost_share, condition.share))
        case Reorder():
            return replace(settings, reorders=True, jitter_s=settings.jitter_s + condition.jitter_s)
