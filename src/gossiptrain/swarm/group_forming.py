"""How the peers that are ready for a round become groups.

Owns what a group is told: its members in an order that all share, by how much each weighs, how fast their links are and
how they code their values. Who meets whom is for `core/grouping.py` to say. Does not know who was waited for, nor how
the answers travel.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from gossiptrain.config import GossipSettings
from gossiptrain.core.grouping import Grouping, GroupLimits, form_groups, limits_for
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.messages import MAX_MEMBERS, Assignment, NoGroup, Ready
from gossiptrain.swarm.ranks import Ranks
from gossiptrain.swarm.speeds import agreed_speeds

ValueT = TypeVar("ValueT", bound=str)


@dataclass(frozen=True)
class Absent:
    """Who was waited for in vain. silent: those of them that did not answer either."""

    missed: Collection[PeerId]
    silent: Collection[PeerId]


class GroupForming:
    """Divides the ready peers of one round after the other."""

    def __init__(self, me: PeerId, run_key: str, settings: GossipSettings, ranks: Ranks, *, rng: random.Random) -> None:
        """me: the coordinator. rng: names the groups."""
        self._me = me
        self._run_key = run_key
        self._settings = settings
        self._limits = GroupLimits(settings.gossip_min_group_size, settings.gossip_group_size)
        self._ranks = ranks
        self._rng = rng

    def grouping(self, round_number: int, readies: Mapping[PeerId, Ready]) -> Grouping:
        """Who meets whom."""
        # Who merges for the last time merges with everyone, so that all who end together end with one model.
        merging = any(ready.purpose != "round" for ready in readies.values())
        how = "all" if merging else self._settings.grouping
        return form_groups(
            readies,
            limits=limits_for(how, self._limits),
            run=self._run_key,
            round_number=round_number,
            seed=self._settings.seed,
            urgent=[peer for peer, ready in readies.items() if ready.urgent],
            grouping=how,
            last_groups={peer: ready.last_group for peer, ready in readies.items()},
        )

    def answers(
        self, round_number: int, readies: Mapping[PeerId, Ready], absent: Absent
    ) -> dict[PeerId, Assignment | NoGroup]:
        """What each of the ready peers is told."""
        grouping = self.grouping(round_number, readies)
        answers: dict[PeerId, Assignment | NoGroup] = {}
        for group in grouping.groups:
            members = self._ranks.in_order(list(map(PeerId, group)), round_number, coordinator=self._me)
            assignment = self._assignment(round_number, {peer: readies[peer] for peer in members}, absent)
            answers |= dict.fromkeys(members, assignment)
        no_group = NoGroup(left_out=bool(grouping.groups))
        return answers | dict.fromkeys(map(PeerId, grouping.left_out), no_group)

    def _assignment(self, round_number: int, group: Mapping[PeerId, Ready], absent: Absent) -> Assignment:
        """group: what its members brought, in their order."""
        members, readies = tuple(group), list(group.values())
        return Assignment(
            round_id=f"{self._rng.getrandbits(128):032x}",
            round=round_number,
            members=members,
            samples=tuple(ready.samples for ready in readies),
            speeds=agreed_speeds(members, {peer: _seen(ready) for peer, ready in group.items()}),
            codec=_common([ready.codec for ready in readies]) or "fp32",
            missed=tuple(absent.missed)[:MAX_MEMBERS],
            final=all(ready.purpose == "end" for ready in readies),
            follow_up=all(ready.follow_up for ready in readies),
            silent=tuple(sorted(absent.silent)[:MAX_MEMBERS]),
        )


def _seen(ready: Ready) -> dict[PeerId, float]:
    return {PeerId(peer): speed for peer, speed in ready.speeds.items()}


def _common(values: Sequence[ValueT]) -> ValueT | None:
    """What all of them are, or None."""
    return values[0] if len(set(values)) == 1 else None
