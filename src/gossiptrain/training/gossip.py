"""The one public way in: `with gossip(model, optimizer, ...) as swarm:` around any PyTorch loop.

Owns the defaults of that call, how its arguments and the settings go together, and what must be right of them before
any process is started. Does not know what happens inside of the `with` block: that is `membership`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Never

from torch import nn
from torch.optim import Optimizer

from gossiptrain import events
from gossiptrain.config import GossipSettings, NetworkSettings, checked
from gossiptrain.core.fingerprint import PROTOCOL_VERSION, CommonSettings, RunFingerprint
from gossiptrain.core.fragments import Fragments
from gossiptrain.core.movement import parts_by_fragment
from gossiptrain.errors import UsageError
from gossiptrain.net.addresses import check_addresses
from gossiptrain.node import control
from gossiptrain.training.bus import EventBus
from gossiptrain.training.invitation import invitation_of
from gossiptrain.training.membership import Gossip
from gossiptrain.training.model.binding import ModelBinding
from gossiptrain.training.model.moments import SecondMoments
from gossiptrain.training.model.replica import kept_vectors
from gossiptrain.training.model.strategies import Strategy
from gossiptrain.training.model.strategy_choice import Usual, resolved
from gossiptrain.training.session import Session
from gossiptrain.wrong_values import did_you_mean

DEFAULT_EVERY_STEPS = 50
MAX_NAME_CHARS = 200


def gossip(
    model: nn.Module,
    optimizer: Optimizer | Sequence[Optimizer],
    *,
    run: str | None = None,
    initial_peers: Sequence[str] = (),
    join: str | None = None,
    open: bool | None = None,
    every_steps: int | None = None,
    every_seconds: float | None = None,
    settings: GossipSettings | None = None,
    network: NetworkSettings | None = None,
    task: str = "custom",
    base: str = "",
    take_state: bool = True,
    samples_per_step: int = 1,
    on_event: Callable[[events.Event], None] | None = None,
    on_ready: Callable[[Gossip], None] | None = None,
    **misplaced: Never,
) -> Gossip:
    """Trains `model` together with the other peers of `run` for as long as the `with` block lasts.

        with gossip(model, optimizer, run="mine", initial_peers=[...], every_steps=50) as swarm:
            for inputs, targets in loader:
                optimizer.zero_grad()
                loss(model(inputs), targets).backward()
                optimizer.step()

    Averages with a small group of other peers every `every_steps` optimizer steps or `every_seconds` seconds, in the
    background. With `initial_peers` (multiaddrs with `/p2p/ID`, of any living peers) the model first takes over a
    living peer's parameters, unless `take_state` is false; with `NetworkSettings(search_local_network=True)` it looks
    for one on the local network instead. Where all begin at the same moment they agree on whose. At
    the end of the block all that end within `settings.ending_time` of each other wait for each other and merge once
    more: then all hold the same parameters.

    model: may be compiled or wrapped, and may move to another device or precision at any time. Its trained parameters
    and its persistent floating-point buffers are averaged; other buffers are this peer's own. optimizer: where several
    train the model, a list of all of them; accelerate's and Lightning's wrappers are taken, too. A step of the last one
    ends an inner step, however often the others have made one before; parameters change only then, so whatever still
    needs them as they were must be done before.

    The swarm is private: peers of the same user on the same computer find each other by `run`; all others come with a
    link that `gossip invite` prints there, given as `join`, which takes the place of `initial_peers` and brings the
    name of the run. `open`: everybody who knows an address may take part; the same for all peers.

    settings, network: everything else; the arguments above go before them. task: a name that all peers of the run
    share, checked with the model's shape when peers meet. base: name and revision of the published model whose frozen
    weights this one builds on, such as those below an adapter; peers then compare that name, and not the values, which
    may differ in precision and which it takes a second a gigabyte to compare. samples_per_step: weighs this peer's
    contribution against others with another batch size. on_event: called in the training thread with each event of
    `gossiptrain.events`. on_ready: called once this peer can be reached, before it has met the swarm; by default a
    `Started` event is told.

    Raises UsageError and AddressError for wrong settings and for models that cannot be averaged, UsageError also at a
    later step where the model has become another one (tensors that came, went, or are trained only now); entering the
    block raises PeerUnreachableError, RunMismatchError, NotAdmittedError, PortInUseError, IdentityInUseError or
    NodeFailedError.
    """
    _refuse_misplaced(misplaced)
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"gossip() was given {type(model).__name__} in the place of the model.",
            remedy="The first argument is the torch.nn.Module itself, the second one its optimizer.",
        )
    chosen = settings or GossipSettings()
    if every_steps is not None or every_seconds is not None:
        pace = {"every_steps": every_steps, "every_seconds": every_seconds}
        chosen = checked(GossipSettings, **{**chosen.model_dump(), **pace})
    if samples_per_step < 1:
        raise UsageError(f"samples_per_step is at least 1, not {samples_per_step}.")
    given = network or NetworkSettings()
    # A text is a sequence of texts as well, of one letter each, which nobody means.
    named = (initial_peers,) if isinstance(initial_peers, str) else tuple(initial_peers)
    changes = {"initial_peers": named or given.initial_peers, "open": given.open if open is None else open}
    invitation = invitation_of(join, checked(NetworkSettings, **{**given.model_dump(), **changes}), run=run)
    joined, run = invitation.network, invitation.run
    task = f"{task} on {base}" if base else task
    _check_names(run, task, joined)
    optimizers = _as_sequence(optimizer)
    binding = ModelBinding(model, optimizers, compares_frozen=not base)
    settled, strategy = resolved(chosen, Usual.of(binding, every_steps=DEFAULT_EVERY_STEPS))
    lengths = [len(bound.place) for bound in binding.tensors]
    fragments = Fragments.of(lengths, 1 if strategy.waits else settled.fragments)
    settled = settled.model_copy(update={"fragments": fragments.count})
    fingerprint = _fingerprint(run, task, binding, strategy, settled)
    invitation.check(fingerprint)
    launch = control.Configure(
        fingerprint=fingerprint,
        join=invitation.link,
        gossip=settled,
        network=joined,
        # What stands in the file of known peers is seen by the handle, which does not ask where it is empty.
        take_state=take_state and (joined.joins or bool(joined.peers_path)),
        fragments=fragments,
        parts=parts_by_fragment(lengths, fragments),
        state_vectors=kept_vectors(strategy),
        weighs_average=strategy.weighs_average,
        average_is_state=strategy.average_is_state and fragments.count == 1,
    )
    bus = EventBus()
    if on_event is not None:
        bus.subscribe(on_event)
    moments = SecondMoments(binding, optimizers, fragments)
    session = Session(binding, strategy, launch, bus, moments=moments, samples_per_step=samples_per_step)
    return Gossip(model, optimizers[-1], session, on_ready=on_ready or _tell_started)


def _refuse_misplaced(arguments: Mapping[str, object]) -> None:
    """Says where an argument belongs that is none of `gossip`, or which one was meant. Raises UsageError."""
    for name, value in arguments.items():
        for argument, kind in (("settings", GossipSettings), ("network", NetworkSettings)):
            if name in kind.model_fields:
                remedy = f"It is one of the settings: {argument}={kind.__name__}({name}={value!r})."
                raise UsageError(f"gossip() takes no argument {name!r}.", remedy=remedy)
        known = [
            *list(inspect.signature(gossip).parameters)[:-1],
            *GossipSettings.model_fields,
            *NetworkSettings.model_fields,
        ]
        raise UsageError(f"gossip() takes no argument {name!r}.", remedy=did_you_mean(name, known))


def _check_names(run: str, task: str, network: NetworkSettings) -> None:
    check_addresses(network)
    if not 1 <= len(run) <= MAX_NAME_CHARS or len(task) > MAX_NAME_CHARS:
        raise UsageError(f"The names of run and task have 1 to {MAX_NAME_CHARS} characters.")


def _fingerprint(
    run: str, task: str, binding: ModelBinding, strategy: Strategy, settings: GossipSettings
) -> RunFingerprint:
    return RunFingerprint(
        PROTOCOL_VERSION,
        run,
        task,
        binding.digest,
        binding.elements,
        strategy.summary,
        CommonSettings.of(settings),
    )


def _as_sequence(optimizer: Optimizer | Sequence[Optimizer]) -> tuple[Optimizer, ...]:
    given: tuple[Any, ...] = tuple(optimizer) if isinstance(optimizer, Iterable) else (optimizer,)
    optimizers = tuple(map(unwrapped, given))
    if not optimizers or not all(isinstance(each, Optimizer) for each in optimizers):
        raise UsageError(
            "gossip() was given no optimizer of torch.optim.",
            remedy="Give it the optimizer, or a list of all of them, the one that steps last at the end.",
        )
    return optimizers


def unwrapped(optimizer: Optimizer) -> Optimizer:
    """The optimizer itself, where accelerate or Lightning has wrapped it: nobody calls the hooks of a wrapper."""
    inner = getattr(optimizer, "optimizer", None)
    return unwrapped(inner) if isinstance(inner, Optimizer) else optimizer


def _tell_started(swarm: Gossip) -> None:
    first = next(swarm.model.parameters())
    swarm.bus.emit(
        events.Started(
            peer_id=swarm.peer_id,
            run=swarm.fingerprint.run,
            task=swarm.fingerprint.task,
            addresses=swarm.addresses,
            device=str(first.device),
            parameters=sum(parameter.numel() for parameter in swarm.model.parameters()),
            samples=0,
            first=not swarm.network.joins,
        )
    )
