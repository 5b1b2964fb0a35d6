"""What a peer holds of the averaged values, and how a round moves it.

Owns the meeting of three things: the tensors of the model on their device, the strategy's rule, and the flat vectors in
the memory that trainer and node share, which has room for one fragment of the model. On the CPU what is shared in a
round is written straight into that memory; for other devices, and where a strategy needs it for longer than the memory
keeps it, it is kept elsewhere and copied, on CUDA beside the computation. Where the model goes to another device, what
is held for it goes after it. Does not know when rounds take place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gossiptrain.core.averaging import Vector
from gossiptrain.core.fragments import Fragments
from gossiptrain.core.movement import parts_by_fragment
from gossiptrain.errors import CheckpointMismatchError
from gossiptrain.swarm.coding import Buffers
from gossiptrain.training.model.binding import BoundTensor, ModelBinding
from gossiptrain.training.model.host_copies import HostCopies
from gossiptrain.training.model.local_work import USUAL, LocalWork
from gossiptrain.training.model.own_steps import Alignment, products_of
from gossiptrain.training.model.strategies import Average, ParameterState, Strategy


@dataclass
class _Piece:
    """One tensor of the model, under the rule that is right for it."""

    bound: BoundTensor
    rule: Strategy
    fragment: int
    memory: Tensor
    """Its place in the snapshot, for as long as a round carries its fragment."""
    shared: Tensor
    state: tuple[Tensor, ...]
    in_place: bool
    """Whether on the CPU `shared` is `memory` itself."""
    rest: Tensor | None = None
    """What the model's precision cannot hold of the values, in float32. A rule that measures what was learnt since the
    last round would else take rounding for learning. None where the model's precision holds all of them."""

    def parameters(self) -> ParameterState:
        """In float32; of a model in another precision `local` is a copy, to be written back."""
        return ParameterState(self._local(), self.shared, self.state)

    def _local(self) -> Tensor:
        local = self.bound.tensor.float()
        return local if self.rest is None else local + self.rest

    def write_changes(self, parameters: ParameterState) -> None:
        """Puts into the model what a rule has moved; finer digits of all else stay as they are."""
        tensor = self.bound.tensor
        if self._is_exact(tensor):
            return
        moved = parameters.local != self._local()
        tensor.copy_(torch.where(moved, parameters.local.to(tensor.dtype), tensor))
        self._note_rest(parameters)

    def write(self, parameters: ParameterState) -> None:
        """Puts all values into the model, so that peers that hold the same in float32 end bitwise equal."""
        tensor = self.bound.tensor
        if self._is_exact(tensor):
            return
        tensor.copy_(parameters.local)
        self._note_rest(parameters)

    def _is_exact(self, tensor: Tensor) -> bool:
        """Whether `parameters` gave the rule the model's own memory."""
        return tensor.dtype == torch.float32 and self.rest is None

    def _note_rest(self, parameters: ParameterState) -> None:
        if self.rest is not None:
            torch.sub(parameters.local, self.bound.tensor.float(), out=self.rest)

    def forget_rest(self) -> None:
        """The values in the model are all that there is."""
        if self.rest is not None:
            self.rest.zero_()

    @torch.inference_mode(mode=False)
    def follow(self, copies: HostCopies) -> None:
        """Moves what is held to where the tensor of the model is now."""
        device = self.bound.tensor.device
        if self.in_place and copies.lies_in_memory(device):
            if self.shared.data_ptr() != self.memory.data_ptr():
                self.memory.copy_(self.shared)
                self.shared = self.memory
        elif self.shared.device != device or self.shared.data_ptr() == self.memory.data_ptr():
            self.shared = self.shared.to(device, copy=True)
        self.state = tuple(tensor.to(device) for tensor in self.state)
        if self.rest is not None:
            self.rest = self.rest.to(device)
        elif self.rule.state_names and self.bound.tensor.element_size() < self.shared.element_size():
            self.rest = torch.zeros_like(self.shared)


class Replica:
    """The parameters of one peer, with everything that its strategy keeps."""

    def __init__(
        self,
        binding: ModelBinding,
        strategy: Strategy,
        memory: Buffers,
        *,
        fragments: Fragments | None = None,
        copies: HostCopies | None = None,
    ) -> None:
        """Begins at the model's current values. Beside the model it takes one tensor of its size for each name in
        `strategy.state_names`, one more where such a model is in half precision, and one on other devices than the CPU
        and where a strategy that `keeps_shared` works on fragments.

        memory: as long as the longest fragment. fragments: None where the model is in one piece.
        """
        self.memory = memory
        self._binding = binding
        self.fragments = fragments or Fragments((binding.elements,))
        self._strategy = strategy
        self._snapshot = torch.from_numpy(memory.snapshot)
        self._average = torch.from_numpy(memory.average)
        self._copies = copies or HostCopies((self._snapshot, self._average))
        self._held = [self._piece(bound) for bound in binding.tensors]
        self.begin()

    def _piece(self, bound: BoundTensor) -> _Piece:
        # Momentum could take a running variance below zero, so statistics are only ever averaged.
        rule = self._strategy if bound.trained else Average()
        fragment = self.fragments.of_element(bound.place.start)
        memory = self._in_fragment(bound, fragment, self._snapshot)
        in_place = self.fragments.count == 1 or not rule.keeps_shared
        shared = memory if in_place else torch.zeros_like(memory)
        state = tuple(torch.zeros_like(shared) for _ in rule.state_names)
        return _Piece(bound, rule, fragment, memory, shared, state, in_place)

    def _in_fragment(self, bound: BoundTensor, fragment: int, vector: Tensor) -> Tensor:
        return bound.view(vector, begins_at=self.fragments.place(fragment).start)

    def _pieces(self) -> Sequence[_Piece]:
        """All that is held, where the model's tensors are now. Raises UsageError where they cannot be followed."""
        self._binding.refresh()
        if any(piece.shared.device != piece.bound.tensor.device for piece in self._held):
            self._copies.finish()
        for piece in self._held:
            self._copies.serve(piece.bound.tensor.device)
            piece.follow(self._copies)
        self._copies.before_changes()
        return self._held

    def _pieces_of(self, fragment: int) -> Sequence[_Piece]:
        return [piece for piece in self._pieces() if piece.fragment == fragment]

    @property
    def parts(self) -> tuple[tuple[int, ...], ...]:
        """By fragment, the elements of the parts that guards look at."""
        return parts_by_fragment([len(bound.place) for bound in self._binding.tensors], self.fragments)

    @property
    def kept_vectors(self) -> int:
        """Flat vectors that `write_state` fills."""
        return kept_vectors(self._strategy)

    def close(self) -> None:
        """Lets go of the shared memory; call it before that is closed."""
        self._copies.close()

    @torch.no_grad()
    def begin(self) -> None:
        """Forgets what earlier rounds taught: the state of the strategy begins at the current parameters."""
        for piece in self._pieces():
            piece.forget_rest()
            piece.rule.begin(piece.parameters())

    @torch.no_grad()
    def alignment(self, *, fragment: int = 0) -> Alignment:
        """How what was learnt since the last round and the momentum lie to each other: of a strategy that has one."""
        own = [piece for piece in self._pieces_of(fragment) if piece.rule is self._strategy]
        products = torch.zeros(3, dtype=torch.float64)
        for piece in own:
            parameters = piece.parameters()
            own_products = products_of(parameters.local, parameters.shared, *parameters.state)
            products = products.to(piece.shared.device) + own_products
        return Alignment(*products.tolist())

    @torch.no_grad()
    def contribute(self, work: LocalWork, *, fragment: int = 0) -> None:
        """Prepares what goes to the next round; it is in the snapshot once `snapshot_is_there`."""
        pieces = self._pieces_of(fragment)
        for piece in pieces:
            parameters = piece.parameters()
            piece.rule.contribute(parameters, work)
            piece.write_changes(parameters)
        self._copies.to_host([(piece.shared, piece.memory) for piece in pieces])

    @property
    def snapshot_is_there(self) -> bool:
        """Whether the snapshot has arrived in the shared memory; on the CPU it always has."""
        return self._copies.arrived

    @torch.no_grad()
    def values_at(self, positions: npt.NDArray[np.int64], fragment: int) -> Vector:
        """The model's values at some positions of a fragment's flat vector, which ascend."""
        begins_at = self.fragments.place(fragment).start
        found = []
        for piece in self._pieces_of(fragment):
            start, stop = piece.bound.place.start - begins_at, piece.bound.place.stop - begins_at
            own = torch.from_numpy(positions[np.searchsorted(positions, start) : np.searchsorted(positions, stop)])
            values = piece.parameters().local.reshape(-1)
            found.append(values[(own - start).to(values.device)].cpu())
        return torch.cat(found).numpy()

    @torch.no_grad()
    def take(self, *, alpha: float, fragment: int = 0, average: Vector | None = None, work: LocalWork = USUAL) -> None:
        """Moves the model by the average that a round has left in the shared memory, or by another one."""
        whole = self._average if average is None else torch.from_numpy(average)
        for piece in self._pieces_of(fragment):
            parameters = piece.parameters()
            memory = self._in_fragment(piece.bound, fragment, whole)
            values = self._copies.from_host(memory, piece.shared.device)
            piece.rule.take(parameters, values, alpha=alpha, work=work)
            piece.write(parameters)

    # For joiners: the vectors one after the other in one.

    @torch.no_grad()
    def write_state(self, vector: Vector, *, fragment: int = 0) -> None:
        """Fills the first elements of `vector`, `kept_vectors` times those of the fragment, with all a joiner needs."""
        for piece, places in self._in_state(vector, fragment):
            parameters = piece.parameters()
            values = piece.rule.kept(parameters) or (parameters.local,)
            for place, value in zip(places, values, strict=False):
                place.copy_(value)

    @torch.no_grad()
    def read_state(self, vector: Vector, *, fragment: int = 0) -> None:
        """Goes on from what a donor's `write_state` has written."""
        for piece, places in self._in_state(vector, fragment):
            parameters = piece.parameters()
            parameters.local.copy_(places[0])
            piece.write(parameters)
            piece.rule.begin(parameters)
            for place, own in zip(places, piece.rule.kept(parameters), strict=False):
                own.copy_(place)

    def _in_state(self, vector: Vector, fragment: int) -> Iterator[tuple[_Piece, Sequence[Tensor]]]:
        length = self.fragments.lengths[fragment]
        rows = torch.from_numpy(vector)[: self.kept_vectors * length].view(self.kept_vectors, length)
        for piece in self._pieces_of(fragment):
            yield piece, [self._in_fragment(piece.bound, fragment, row) for row in rows]

    # For checkpoints.

    def state(self) -> dict[str, Tensor]:
        """What the strategy keeps, by names such as `1.layer.weight`; empty where it keeps nothing."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self._kept()}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from `state`. Raises CheckpointMismatchError where it is another strategy's or model's."""
        kept = dict(self._kept())
        if {name: tensor.shape for name, tensor in state.items()} != {n: t.shape for n, t in kept.items()}:
            raise CheckpointMismatchError(
                f"The checkpoint holds no outer state of the strategy {self._strategy.name} for this model.",
                cause="It was made with another strategy.",
                remedy="Use the strategy of that run, which is in its config.toml, or start without --resume.",
            )
        for name, tensor in kept.items():
            tensor.copy_(state[name])

    def _kept(self) -> Iterator[tuple[str, Tensor]]:
        for piece in self._pieces():
            for number, tensor in enumerate(piece.rule.kept(piece.parameters())):
                yield f"{number}.{piece.bound.spec.name}", tensor
            if piece.rest is not None:
                yield f"rest.{piece.bound.spec.name}", piece.rest


def kept_vectors(strategy: Strategy) -> int:
    """Flat vectors that a joiner is given: at least the parameters."""
    probe = torch.zeros(0)
    return max(1, len(strategy.kept(ParameterState(probe, probe, tuple(probe for _ in strategy.state_names)))))
