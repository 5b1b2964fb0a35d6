"""What each fault does to a swarm, and whom it touched when.

Owns the beginning and the end of every fault. Does not know how faults are drawn.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from gossiptrain.simulate.swarms import sometimes
from gossiptrain.simulate.swarms.network import WrongClock
from gossiptrain.simulate.swarms.plan import (
    Crash,
    Cut,
    Fault,
    Flood,
    Freeze,
    Latency,
    Lie,
    Loss,
    OneWay,
    Reorder,
    Reset,
    Skew,
    Slow,
    peer_names,
    region_of,
)
from gossiptrain.simulate.swarms.results import FaultRecord, RoundRecord, Sample
from gossiptrain.simulate.swarms.world import World

AROUND_S = 1.0
"""How long before and after a fault what is under way may still feel it."""
Touching = Crash | Freeze | Cut | OneWay | Latency | Loss | Reset | Reorder | Slow
"""Faults that delay or destroy what certain peers say."""


@dataclass
class Afflictions:
    """The faults of one run."""

    faults: Mapping[int, Fault]
    _happened: set[int] = field(default_factory=set)
    _frozen: Counter[str] = field(default_factory=Counter)
    """How many faults hold the same peer frozen."""

    async def play(self, world: World) -> None:
        """Has all of them happen; returns when the last is over."""
        moments = [(fault.at_s, 0, number) for number, fault in self.faults.items()]
        moments += [(fault.until_s, 1, number) for number, fault in self.faults.items()]
        for at_s, is_end, number in sorted(moments):
            await asyncio.sleep(max(0.0, at_s - world.now_s))
            if not is_end:
                if self._begin(world, number, self.faults[number]):
                    self._happened.add(number)
            elif number in self._happened:
                self._end(world, number, self.faults[number])

    def was_touched(self, peer: str, began_s: float, ended_s: float) -> bool:
        """Whether what a peer said within that time may have been late or lost."""
        return any(
            fault.at_s - AROUND_S <= ended_s and began_s <= fault.until_s + AROUND_S
            for number, fault in self.faults.items()
            if number in self._happened and isinstance(fault, Touching) and _touches(fault, peer)
        )

    def records(self, rounds: list[RoundRecord], samples: list[Sample], *, delay_s: float) -> tuple[FaultRecord, ...]:
        """What became of each. delay_s: until when after its end a fault may still cost a round."""
        costly = {
            (each.number, each.members): (each.ended_s - each.formation_s - each.seconds, each.ended_s)
            for each in rounds
            if not each.committed or each.attempts > 1
        }
        records = []
        for number, fault in self.faults.items():
            cost = sum(
                began_s <= fault.until_s + delay_s
                and fault.at_s <= ended_s
                and any(_touches(fault, member) for member in members)
                for (_, members), (began_s, ended_s) in costly.items()
            )
            happened = number in self._happened
            one_at_s = next((each.at_s for each in samples if each.is_one and each.at_s >= fault.until_s), None)
            record = FaultRecord(
                number,
                fault.name,
                words=str(fault).strip(),
                at_s=fault.at_s,
                until_s=fault.until_s,
                happened=happened,
                rounds_cost=cost if happened else 0,
                one_swarm_after_s=None if one_at_s is None else round(one_at_s - fault.until_s, 3),
            )
            records.append(record)
        return tuple(records)

    def _begin(self, world: World, number: int, fault: Fault) -> bool:
        """Says whether it found somebody to happen to."""
        network, alive = world.network, world.alive
        match fault:
            case Crash():
                return world.kill(fault.peer)
            case Freeze():
                self._frozen[fault.peer] += 1
                network.freeze(fault.peer)
            case Cut():
                network.cut_apart(number, fault.side, self._other_side(world, fault))
            case OneWay():
                network.cut_one_way(number, fault.source, fault.target)
            case Latency() | Loss() | Reorder():
                network.begin(number, fault)
            case Reset():
                return fault.peer in alive and world.transport_of(fault.peer).break_streams() > 0
            case Skew():
                world.clocks[fault.peer] = WrongClock(fault.offset_s, fault.rate)
            case Slow():
                network.set_uplink(fault.peer, bandwidth_bytes_per_s=fault.uplink_bytes_per_s)
                if fault.peer in alive:
                    alive[fault.peer].slowness = fault.factor
                return fault.peer in alive
            case Flood():
                for joiner in fault.joiners:
                    world.start(joiner)
            case Lie():
                world.start_liar(fault.liar)
        return True

    def _end(self, world: World, number: int, fault: Fault) -> None:
        network, alive = world.network, world.alive
        match fault:
            case Crash():
                if fault.peer not in alive:
                    world.start(fault.peer)
            case Freeze():
                self._frozen[fault.peer] -= 1
                if not self._frozen[fault.peer]:
                    network.thaw(fault.peer)
            case Cut():
                network.uncut(number)
                if fault.for_s > world.settings.timing.lifetime_s:
                    world.log.reach(sometimes.CUT_HEALED)
            case OneWay():
                network.uncut(number)
            case Latency() | Loss() | Reorder():
                network.end(number)
            case Skew():
                world.clocks.pop(fault.peer, None)
            case Slow():
                network.set_uplink(fault.peer, bandwidth_bytes_per_s=None)
                if fault.peer in alive:
                    alive[fault.peer].slowness = 1.0
            case Flood():
                for joiner in fault.joiners:
                    world.kill(joiner)
            case Lie():
                world.stop_liar(fault.liar)

    def _other_side(self, world: World, cut: Cut) -> tuple[str, ...]:
        """All that will ever be there, but for those of the one side."""
        names = list(peer_names(world.settings.peers))
        for fault in self.faults.values():
            if isinstance(fault, Flood):
                names += fault.joiners
            elif isinstance(fault, Lie):
                names.append(fault.liar)
        return tuple(name for name in names if name not in cut.side)


def _touches(fault: Fault, peer: str) -> bool:
    match fault:
        case Cut():
            return True
        case OneWay():
            return peer in (fault.source, fault.target)
        case Latency():
            return region_of(peer) in (fault.one_region, fault.other_region)
        case Flood():
            return peer in fault.joiners
        case Lie():
            return peer == fault.liar
        case Crash() | Freeze() | Loss() | Reset() | Reorder() | Skew() | Slow():
            return peer == fault.peer
    return False
