"""What a peer holds of the averaged values, and how a round moves it.

Owns the meeting of three things: the tensors of the model on their device, the strategy's rule, and the flat vectors in
the memory that trainer and node share. On the CPU what is shared in a round is written straight into that memory; for
other devices it is kept there and copied, on CUDA beside the computation. Does not know when rounds take place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gossiptrain.core.averaging import Vector
from gossiptrain.errors import CheckpointMismatchError
from gossiptrain.swarm.coding import Buffers
from gossiptrain.training.model.binding import FlatModel, PlacedTensor
from gossiptrain.training.model.host_copies import HostCopies
from gossiptrain.training.model.strategies import Average, Effort, Held, Strategy


@dataclass(frozen=True)
class _Piece:
    """One tensor of the model, under the rule that is right for it."""

    placed: PlacedTensor
    rule: Strategy
    shared: Tensor
    state: tuple[Tensor, ...]

    def held(self) -> Held:
        """In float32; of a model in another precision `local` is a copy, to be written back."""
        return Held(self.placed.tensor.float(), self.shared, self.state)

    def write_back(self, held: Held) -> None:
        if held.local is not self.placed.tensor:
            self.placed.tensor.copy_(held.local)


class Replica:
    """The parameters of one peer, with everything that its strategy keeps."""

    def __init__(self, flat: FlatModel, strategy: Strategy, memory: Buffers) -> None:
        """Begins at the model's current values. Beside the model it takes one tensor of its size for each name in
        `strategy.state_names`, and on other devices than the CPU one more."""
        self._flat = flat
        self._strategy = strategy
        self._snapshot = torch.from_numpy(memory.snapshot)
        self._average = torch.from_numpy(memory.average)
        devices = {placed.tensor.device for placed in flat.tensors}
        self._copies = HostCopies(devices, (self._snapshot, self._average))
        self._pieces = [self._piece(placed) for placed in flat.tensors]
        self.begin()

    def _piece(self, placed: PlacedTensor) -> _Piece:
        # Momentum could take a running variance below zero, so statistics are only ever averaged.
        rule = self._strategy if placed.trained else Average()
        device = placed.tensor.device
        shared = placed.view(self._snapshot)
        if device.type != "cpu":
            shared = torch.empty_like(shared, device=device)
        return _Piece(placed, rule, shared, tuple(torch.zeros_like(shared) for _ in rule.state_names))

    @property
    def kept_vectors(self) -> int:
        """Flat vectors that `write_state` fills."""
        return kept_vectors(self._strategy)

    @torch.no_grad()
    def begin(self) -> None:
        """Forgets what earlier rounds taught: the state of the strategy begins at the current parameters."""
        for piece in self._pieces:
            held = piece.held()
            piece.rule.begin(held)

    @torch.no_grad()
    def contribute(self, effort: Effort) -> None:
        """Prepares what goes to the next round; it is in the snapshot once `snapshot_is_there`."""
        for piece in self._pieces:
            held = piece.held()
            piece.rule.contribute(held, effort)
            piece.write_back(held)
        self._copies.to_host([(piece.shared, piece.placed.view(self._snapshot)) for piece in self._pieces])

    @property
    def snapshot_is_there(self) -> bool:
        """Whether the snapshot has arrived in the shared memory; on the CPU it always has."""
        return self._copies.arrived

    @torch.no_grad()
    def take(self, *, alpha: float) -> None:
        """Moves the model by the average that a round has left in the shared memory."""
        for piece in self._pieces:
            held = piece.held()
            average = self._copies.from_host(piece.placed.view(self._average), piece.shared.device)
            piece.rule.take(held, average, alpha=alpha)
            piece.write_back(held)

    # For joiners: the vectors one after the other in one.

    @torch.no_grad()
    def write_state(self, vector: Vector) -> None:
        """Fills `vector`, of `kept_vectors` times the model's length, with all that a joiner needs."""
        for piece, places in self._in_state(vector):
            values = piece.rule.kept(piece.held()) or (piece.placed.tensor,)
            for place, value in zip(places, values, strict=False):
                place.copy_(value)

    @torch.no_grad()
    def read_state(self, vector: Vector) -> None:
        """Goes on from what a donor's `write_state` has written."""
        for piece, places in self._in_state(vector):
            piece.placed.tensor.copy_(places[0])
            piece.rule.begin(piece.held())
            for place, own in zip(places, piece.rule.kept(piece.held()), strict=False):
                own.copy_(place)

    def _in_state(self, vector: Vector) -> Iterator[tuple[_Piece, Sequence[Tensor]]]:
        whole = torch.from_numpy(vector).view(self.kept_vectors, self._flat.elements)
        for piece in self._pieces:
            yield piece, [piece.placed.view(row) for row in whole]

    # For checkpoints.

    def state(self) -> dict[str, Tensor]:
        """What the strategy keeps, by names such as `1.layer.weight`; empty where it keeps nothing."""
        kept = {}
        for piece in self._pieces:
            for number, tensor in enumerate(piece.rule.kept(piece.held())):
                kept[f"{number}.{piece.placed.spec.name}"] = tensor.detach().cpu().clone()
        return kept

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from `state`. Raises CheckpointMismatchError where it is another strategy's or model's."""
        begun = self.state()
        if {name: tensor.shape for name, tensor in state.items()} != {n: t.shape for n, t in begun.items()}:
            raise CheckpointMismatchError(
                f"The checkpoint holds no outer state of the strategy {self._strategy.name} for this model.",
                cause="It was made with another strategy.",
                remedy="Use the strategy of that run, which is in its config.toml, or start without --resume.",
            )
        for piece in self._pieces:
            for number, tensor in enumerate(piece.rule.kept(piece.held())):
                tensor.copy_(state[f"{number}.{piece.placed.spec.name}"])


def kept_vectors(strategy: Strategy) -> int:
    """Flat vectors that a joiner is given: at least the parameters."""
    probe = torch.zeros(0)
    return max(1, len(strategy.kept(Held(probe, probe, tuple(probe for _ in strategy.state_names)))))
