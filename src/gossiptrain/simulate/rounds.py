"""The rounds of all virtual peers: who takes part, what each brings, who meets whom, and what everyone makes of it.

Owns what peers keep between rounds, as matrices with one peer in each row. The rules are those of real peers:
groups, codecs and guards come from `core`, strategies from `training.model`. Does not know how peers learn, nor how
liars lie.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gossiptrain.config import GossipSettings
from gossiptrain.core.averaging import expected_contraction
from gossiptrain.core.codecs import codec_named
from gossiptrain.core.grouping import GroupLimits, form_groups, limits_for
from gossiptrain.core.guards import is_sound
from gossiptrain.core.modular import Modular
from gossiptrain.core.movement import parts_of
from gossiptrain.simulate.aggregators import AGGREGATORS, AggregatorName
from gossiptrain.simulate.counters import Counters
from gossiptrain.simulate.guarding import VirtualGuards
from gossiptrain.simulate.lies import NOBODY, Liars, Lies
from gossiptrain.simulate.meeting import (
    SliceOwner,
    longest_chunk,
    meet_coded,
    meet_far_apart,
    meet_guarded,
    meet_nearby,
    meet_plainly,
)
from gossiptrain.simulate.virtual_peers import VirtualPeers
from gossiptrain.swarm.coding import Buffers, UnreadableError
from gossiptrain.swarm.near_coding import NEAR_BITS, SpreadEstimate
from gossiptrain.training.model.local_work import LocalWork
from gossiptrain.training.model.outer_step import Scale
from gossiptrain.training.model.own_steps import Alignment, StepHistory, products_of_rows
from gossiptrain.training.model.strategies import Average, ParameterState, StepMix, Strategy
from gossiptrain.training.model.strategy_choice import strategy_for
from gossiptrain.training.tasks.sampling import seed_from

Matrix = npt.NDArray[np.float32]

RUN = "laboratory"


@dataclass(frozen=True)
class VirtualRoundRules:
    """What the rounds of a run have in common. absent: probability with which each peer reaches nobody in one of its
    tries. aggregator: in place of the weighted mean."""

    gossip: GossipSettings
    every_steps: int
    batch: int
    absent: float
    seed: int
    tries: int = 1
    liars: Liars = NOBODY
    aggregator: AggregatorName | None = None


@dataclass(frozen=True)
class Contraction:
    """The factor by which a round shrinks the variance among all peers: found, and expected of so many groups."""

    measured: float
    expected: float


class VirtualRounds:
    """One round is `meet`, perhaps some more steps of the peers, and `take`."""

    def __init__(self, rules: VirtualRoundRules, virtual_peers: VirtualPeers) -> None:
        """Begins at the peers' current values. Raises UsageError for settings that make peers drift apart."""
        self.strategy: Strategy = strategy_for(rules.gossip)
        self.number = 0
        self.bytes_per_peer = 0.0
        """Sent so far, mean over all peers."""
        self.groups: list[list[int]] = []
        """Of the round that has met and has not been taken."""
        self.fallbacks = 0
        """Groups that could not read int8 or int4 and met in another codec."""
        self.refused = 0
        """Averages that honest peers did not apply, or not as they were."""
        self._rules = rules
        self._virtual_peers = virtual_peers
        gossip = rules.gossip
        limits = GroupLimits(gossip.gossip_min_group_size, gossip.gossip_group_size)
        self._limits = limits_for(gossip.grouping, limits)
        weighs_average = self.strategy.weighs_average
        self._counters = Counters(
            virtual_peers, every_steps=rules.every_steps, batch=rules.batch, weighs_average=weighs_average
        )
        self._absences = np.random.default_rng(seed_from("absent", rules.seed))
        self._histories = [StepHistory() for _ in range(virtual_peers.peers)]
        self._stopped: set[int] = set()
        self._urgent: set[int] = set()
        self._last_groups: dict[str, str] = {}
        values = virtual_peers.matrix()
        longest = longest_chunk(values.shape[1])
        # Kept from round to round, where real peers make new ones: that would take longer than the round itself.
        near = range(virtual_peers.peers if gossip.wire_codec in NEAR_BITS else 0)
        self._modular = Modular(longest, bits=NEAR_BITS.get(gossip.wire_codec, 8))
        self._spreads = [SpreadEstimate(values.shape[1]) for _ in near]
        self._shared = torch.empty_like(values)
        self._average = np.empty(values.shape, np.float32)
        lengths = parts_of([len(bound.place) for bound in virtual_peers.stack.flat.tensors])
        self._guards = VirtualGuards(values, lengths)
        self._lies = Lies(
            rules.liars, peers=len(values), elements=values.shape[1], seed=seed_from("attack", rules.seed)
        )
        self._watches = gossip.guard != "off" or rules.liars.attack is not None
        self._trained = virtual_peers.stack.trained_elements
        self._state = [torch.empty_like(values[:, : self._trained]) for _ in self.strategy.state_names]
        for _, rule, parameters in self._parameter_state(values, range(virtual_peers.peers)):
            rule.begin(parameters)

    @torch.no_grad()
    def meet(self, *, measured: bool = False) -> Contraction | None:
        """Snapshots, groups and averages; nobody has taken anything yet. measured: whether to return what it did."""
        values = self._virtual_peers.matrix()
        trying = [peer for peer in range(self._virtual_peers.peers) if peer not in self._stopped]
        self._contribute(values, trying)
        if self._watches:
            self._guards.see(self._shared)
        snapshots = self._shared.cpu().numpy()
        # As a real peer does: what is not finite is shown to nobody, and its owner does not take part any more.
        self._stopped |= {peer for peer in trying if not is_sound(snapshots[peer])}
        ready = self._gather([peer for peer in trying if peer not in self._stopped])
        shown = self._lies.shown(self.groups, snapshots, self._guards.anchors.cpu().numpy())
        self._leave_out([peer for peer in ready if not is_sound(shown[peer])])
        for group in self.groups:
            self._average_group(group, shown)
        self.number += 1
        return self._contraction(values, ready) if measured else None

    def _leave_out(self, unsound: Sequence[int]) -> None:
        """As real peers do: an attempt that fails on a member is repeated without it."""
        if unsound:
            kept = [[peer for peer in group if peer not in unsound] for group in self.groups]
            self.groups = [group for group in kept if len(group) >= self._rules.gossip.gossip_min_group_size]

    @torch.no_grad()
    def take(self) -> None:
        """Everyone who found a group moves by its average, as far as its guard lets it."""
        rows, average = self._guarded(sorted(peer for group in self.groups for peer in group))
        if rows:
            values = self._virtual_peers.matrix()
            alpha = self._rules.gossip.gossip_alpha
            shares = _column([alpha * self._counters.late_share(peer) for peer in rows], values)
            work = LocalWork(
                met_lately=_column([float(self._counters.has_met_lately(peer)) for peer in rows], values),
                late=_column([self._counters.late(peer) for peer in rows], values),
            )
            shown = self._shared[rows]
            for columns, rule, parameters in self._parameter_state(values, rows):
                rule.take(parameters, average[:, columns], alpha=shares, work=work)
            self._virtual_peers.put(values)
            if self._watches:
                self._guards.note(rows, average - shown, torch.lerp(shown, average, shares))
        for group in self.groups:
            self._counters.round_committed(group, set(rows))
        self._urgent -= {peer for group in self.groups for peer in group}
        self.groups = []

    @torch.no_grad()
    def join(self, joiner: int, donor: int) -> None:
        """The joiner begins with what the donor gives: as `Replica.read_state` takes what `write_state` has written."""
        values = self._virtual_peers.matrix()
        both = zip(self._parameter_state(values, [donor]), self._parameter_state(values, [joiner]), strict=True)
        for (_, rule, given), (_, _, taken) in both:
            kept = rule.kept(given)
            taken.local.copy_(kept[0] if kept else given.local)
            rule.begin(taken)
            for own, place in zip(rule.kept(taken), kept, strict=True):
                own.copy_(place)
        self._virtual_peers.put(values)

    def _guarded(self, rows: Sequence[int]) -> tuple[list[int], Tensor]:
        """Who of these takes its average, and what it takes for that."""
        shown = self._shared[list(rows)]
        average = torch.from_numpy(self._average[list(rows)]).to(shown.device)
        guard = self._rules.gossip.guard
        if guard == "off" or not rows:
            return list(rows), average
        allowed = self._guards.allowed(
            rows, shown, average, paces=self._counters.paces(self.groups), clip=guard == "clip"
        )
        allowed[[peer not in self._lies.honest for peer in rows]] = 1.0
        self.refused += int(np.count_nonzero(allowed.min(axis=1) < 1))
        takes = allowed.max(axis=1) > 0
        if (allowed < 1).any() and guard == "clip":
            average = torch.lerp(shown, average, self._guards.elementwise(allowed).to(shown.device))
        return [peer for peer, does in zip(rows, takes, strict=True) if does], average[torch.from_numpy(takes)]

    def _contribute(self, values: Tensor, peers: Sequence[int]) -> None:
        """These prepare what they bring; moves `values` and the peers where the strategy does."""
        horizons = [self._counters.horizon(peer) for peer in peers]
        work = LocalWork(
            weight=_column([self._counters.weight(peer) for peer in peers], values),
            horizon=_column(horizons, values),
            late=_column([self._counters.late(peer) for peer in peers], values),
        )
        for _, rule, parameters in self._parameter_state(values, peers):
            if isinstance(rule, StepMix):
                work = self._in_shares(rule, work, parameters, dict(zip(peers, horizons, strict=True)))
            rule.contribute(parameters, work)
        self._virtual_peers.put(values)
        self._counters.snapshot_taken(peers)

    def _in_shares(
        self, rule: StepMix, work: LocalWork, parameters: ParameterState, horizons: Mapping[int, float]
    ) -> LocalWork:
        """With what each of these peers takes of the outer step in this round."""
        products = products_of_rows(parameters.local, parameters.shared, *parameters.state)
        own = [
            rule.next_shares(self._histories[peer], Alignment(*row), horizon=horizon)
            for (peer, horizon), row in zip(horizons.items(), products.tolist(), strict=True)
        ]
        return replace(
            work,
            learnt=_column([shares.learnt for shares in own], parameters.local),
            grown=_column([shares.grown for shares in own], parameters.local),
            kept=_column([shares.kept for shares in own], parameters.local),
        )

    def _gather(self, peers: Sequence[int]) -> list[int]:
        """Forms the groups of a round; who is in none looks again as often as it may. Returns who came at all."""
        came: set[int] = set()
        waiting = list(peers)
        for _ in range(self._rules.tries):
            away = self._absences.random(self._virtual_peers.peers) < self._rules.absent
            ready = [peer for peer in waiting if not away[peer]]
            came.update(ready)
            self.groups += self._groups_of(ready)
            placed = {peer for group in self.groups for peer in group}
            waiting = [peer for peer in waiting if peer not in placed]
        return sorted(came)

    def _groups_of(self, ready: Sequence[int]) -> list[list[int]]:
        peers = {f"peer {peer}": peer for peer in ready}
        found = form_groups(
            peers,
            limits=self._limits,
            run=RUN,
            round_number=self.number,
            seed=self._rules.gossip.seed,
            urgent=[name for name, peer in peers.items() if peer in self._urgent],
            grouping=self._rules.gossip.grouping,
            last_groups=self._last_groups,
        )
        for number, names in enumerate(found.groups, start=len(self.groups)):
            self._last_groups |= dict.fromkeys(names, f"{self.number}/{number}")
        self._urgent |= {peers[name] for name in found.left_out}
        return [[peers[name] for name in group] for group in found.groups]

    def _average_group(self, group: Sequence[int], snapshots: Matrix) -> None:
        members = [Buffers(snapshots[peer], self._average[peer]) for peer in group]
        clips = self._rules.gossip.guard == "clip"
        weighs = self.strategy.weighs_average and not clips
        samples = [self._counters.samples(peer) if weighs else 1 for peer in group]
        match self._rules.gossip.wire_codec:
            case "fp32" if self._rules.aggregator is not None:
                sent_bytes = self._aggregate(members, self._rules.aggregator)
            case "fp32" if clips or self._rules.liars.owners_lie:
                sent_bytes = meet_guarded(members, samples, [self._owner(peer) for peer in group])
            case "fp32":
                sent_bytes = meet_plainly(members, samples)
            case "int8" | "int4":
                sent_bytes = self._meet_nearby(group, members, samples)
            case name:
                sent_bytes = meet_coded(members, samples, codec_named(name))
        self.bytes_per_peer += sent_bytes / self._virtual_peers.peers

    def _owner(self, peer: int) -> SliceOwner:
        clips = self._rules.gossip.guard == "clip" and peer in self._lies.honest
        return SliceOwner(self._guards.radii(peer) if clips else None, lies=self._lies.owner_lies(peer))

    def _aggregate(self, members: Sequence[Buffers], name: AggregatorName) -> int:
        """Each member sends all it has to all others, and aggregates for itself."""
        found = AGGREGATORS[name](np.stack([member.snapshot for member in members]))
        for member in members:
            np.copyto(member.average, found)
        return len(members) * (len(members) - 1) * found.nbytes

    def _meet_nearby(self, group: Sequence[int], members: Sequence[Buffers], samples: Sequence[int]) -> int:
        spreads = [self._spreads[peer] for peer in group]
        try:
            seeds = [seed_from("codec", self._rules.seed, self.number, peer) for peer in group]
            return meet_nearby(members, samples, self._modular, spreads, seeds)
        except UnreadableError:
            # As real peers do in their second attempt; the bytes of the first are not counted, it ends early.
            for spread in spreads:
                spread.widen()
            self.fallbacks += 1
            return meet_far_apart(members, samples, spreads)

    def _parameter_state(self, values: Tensor, rows: Sequence[int]) -> Iterator[tuple[slice, Strategy, ParameterState]]:
        """What the peers in `rows` hold: the parameters under the strategy, and buffers, such as running variances,
        which momentum could take below zero, under plain averaging. What is changed is kept in `values` and here."""
        everyone = len(rows) == self._virtual_peers.peers
        index = torch.tensor(rows, dtype=torch.int64, device=values.device)
        for rule, columns in ((self.strategy, slice(0, self._trained)), (Average(), slice(self._trained, None))):
            state = self._state if rule is self.strategy else []
            wholes = [values[:, columns], self._shared[:, columns], *state]
            if not rows or not wholes[0].shape[1]:
                continue
            parts = wholes if everyone else [whole[index] for whole in wholes]
            yield columns, rule, ParameterState(parts[0], parts[1], tuple(parts[2:]))
            if not everyone:
                for whole, part in zip(wholes, parts, strict=True):
                    whole[index] = part

    def _contraction(self, values: Tensor, ready: Sequence[int]) -> Contraction:
        """Of what the peers show, or would show if they took part, by the averaging alone."""
        shown = values.clone()
        shown[ready] = self._shared[ready]
        before = _variance(shown)
        met = [peer for group in self.groups for peer in group]
        shown[met] = torch.from_numpy(self._average[met]).to(shown.device)
        expected = expected_contraction(peers=len(shown), groups=len(self.groups) + len(shown) - len(met))
        return Contraction(_variance(shown) / before if before else 1.0, expected)


def _column(numbers: Sequence[float], like: Tensor) -> Scale:
    """One number where all are equal, else a column."""
    if len(set(numbers)) <= 1:
        return numbers[0] if numbers else 1.0
    return torch.tensor(numbers, dtype=like.dtype, device=like.device).unsqueeze(1)


def _variance(values: Tensor) -> float:
    """Sum over all columns of the variance among the rows."""
    return float(values.var(dim=0, unbiased=False).sum(dtype=torch.float64))
