"""`gossip()`, for any PyTorch loop: what it refuses, what it does at step boundaries, that it leaves nothing behind."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Self

import pytest
import torch
from torch import nn

from gossiptrain import events
from gossiptrain.config import GossipSettings, NetworkSettings
from gossiptrain.errors import (
    AddressError,
    GossipError,
    IdentityInUseError,
    PeerUnreachableError,
    PortInUseError,
    RunMismatchError,
    UsageError,
)
from gossiptrain.node import control
from gossiptrain.swarm.ending import Farewell, Grace
from gossiptrain.training.gossip import gossip
from gossiptrain.training.membership import NEVER_ENTERED, Gossip
from gossiptrain.training.model.host_copies import HostCopies
from gossiptrain.training.news import NO_MOMENTS
from tests.members import LOCAL, Constant, Member, standing_still, wait_for_rounds
from tests.processes import MARK_VARIABLE, Family, wait_until

PEER_ID = "12D3KooWGRUaAYQbLM5gPeJcoWcTcqS8DkFTbdKPJYxmpvx8vWTY"
NOBODY = f"/ip4/127.0.0.1/tcp/9/p2p/{PEER_ID}"
HOST_VALUE = 3.0
NEVER = GossipSettings(gossip_min_group_size=16, matchmaking_time=0.2, every_steps=10**9)
"""Whoever goes by these settings is never in a group, not even when it leaves, and keeps its parameters."""


@pytest.fixture(scope="module")
def host() -> Iterator[Member]:
    """A living member that others of this file meet."""
    with Member(HOST_VALUE, run="hosts", task="constant", every_steps=None, settings=NEVER) as member:
        yield member


def joining(host: Member, model: nn.Module | None = None, **options: Any) -> Gossip:
    """Somebody about to join the host's swarm with a model of another value."""
    model = Constant(-1.0) if model is None else model
    given: dict[str, Any] = {"run": "hosts", "task": "constant", "network": LOCAL, "settings": NEVER, **options}
    return gossip(model, standing_still(model), **{"initial_peers": [host.address], **given})


def alone(
    model: nn.Module, optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer], **options: Any
) -> Gossip:
    given: dict[str, Any] = {"run": "alone", "network": LOCAL, **options}
    return gossip(model, optimizer, **given)


def assert_nothing_left(optimizer: torch.optim.Optimizer) -> None:
    assert not optimizer._optimizer_step_post_hooks
    assert not [thread for thread in threading.enumerate() if thread.name == "gossiptrain node reader"]


# What is refused before anything is started.


@pytest.fixture
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a process is started")

    monkeypatch.setattr(subprocess, "Popen", refuse)


@pytest.mark.usefixtures("no_process")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"every_steps": 0}, "every_steps"),
        ({"every_seconds": -1.0}, "every_seconds"),
        ({"run": ""}, "names of run and task"),
        ({"run": "x" * 1000}, "names of run and task"),
        ({"task": "x" * 1000}, "names of run and task"),
        ({"samples_per_step": 0}, "samples_per_step"),
    ],
)
def test_wrong_settings_are_refused_by_name_before_any_process_is_started(options: dict[str, Any], words: str) -> None:
    model = Constant(0.0)
    with pytest.raises(UsageError, match=words):
        gossip(model, standing_still(model), **options)


@pytest.mark.usefixtures("no_process")
@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"initial_peers": ("/ip4/127.0.0.1/tcp/4011",)}, "/p2p/ID is missing"),
        ({"initial_peers": ("localhost:4011",)}, "has not the form"),
        ({"host_maddrs": ("/ip4/300.0.0.1/tcp/0",)}, "not an IPv4 address"),
        ({"host_maddrs": (NOBODY,)}, "the peer adds its own"),
        ({"announce_maddrs": ("/ip4/203.0.113.7/tcp/0",)}, "the real port"),
    ],
)
def test_malformed_addresses_are_refused_before_any_process_is_started(network: dict[str, Any], words: str) -> None:
    model = Constant(0.0)
    with pytest.raises(AddressError, match=words) as caught:
        gossip(model, standing_still(model), network=NetworkSettings(**network))
    assert caught.value.exit_code == 11


def test_a_name_may_be_announced_though_nobody_can_listen_on_one() -> None:
    model = Constant(0.0)
    gossip(model, standing_still(model), network=NetworkSettings(announce_maddrs=("/dns4/peer.example/tcp/4011",)))


@pytest.mark.usefixtures("no_process")
def test_a_model_with_nothing_to_average_is_refused() -> None:
    model = nn.Linear(2, 2).requires_grad_(False)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    with pytest.raises(UsageError, match="nothing to average"):
        gossip(model, optimizer)


@pytest.mark.usefixtures("no_process")
def test_merging_outside_the_block_is_refused() -> None:
    model = Constant(0.0)
    with pytest.raises(UsageError, match="outside the `with` block"):
        gossip(model, standing_still(model)).merge()


def test_a_block_without_a_step_of_the_optimizer_says_so() -> None:
    model, told = Constant(0.0), list[events.Event]()
    with alone(model, standing_still(model), on_event=told.append) as swarm:
        assert swarm.is_inside
    assert not swarm.is_inside
    warnings = [event.message for event in told if isinstance(event, events.Notice) and event.level == "warning"]
    assert ["No step of the optimizer" in message for message in warnings] == [True]


@pytest.mark.usefixtures("no_process")
def test_a_swarm_that_is_dropped_without_a_with_block_says_so() -> None:
    model, told = Constant(0.0), list[events.Event]()
    alone(model, standing_still(model), on_event=told.append)
    assert [event.message for event in told if isinstance(event, events.Notice)] == [NEVER_ENTERED]


def test_one_initial_peer_may_be_given_as_a_text() -> None:
    model = Constant(0.0)
    assert gossip(model, standing_still(model), initial_peers=NOBODY).network.initial_peers == (NOBODY,)


def test_settings_given_as_a_whole_and_one_by_one_go_together() -> None:
    model = Constant(0.0)

    def pace(**options: Any) -> tuple[int | None, float | None]:
        settings = gossip(model, standing_still(model), **options).settings
        return settings.every_steps, settings.every_seconds

    assert pace() == (50, None)
    assert pace(every_seconds=2.0) == (None, 2.0)
    assert pace(settings=GossipSettings(every_steps=7)) == (7, None)
    assert pace(settings=GossipSettings(every_steps=7), every_seconds=2.0) == (None, 2.0)
    assert pace(settings=GossipSettings(every_seconds=7.0), every_steps=3) == (3, None)


# A member that has no company.


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW", "Muon"])
def test_a_lone_member_trains_as_ever_says_so_once_and_leaves_nothing_behind(
    optimizer: str, family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(torch.optim, optimizer):
        pytest.skip(f"this torch has no {optimizer}")
    monkeypatch.setenv(MARK_VARIABLE, family.mark)
    torch.manual_seed(0)
    model, twin = nn.Linear(3, 1, bias=False), nn.Linear(3, 1, bias=False)
    twin.load_state_dict(model.state_dict())
    optimizers = [getattr(torch.optim, optimizer)(each.parameters(), lr=0.1) for each in (model, twin)]
    told: list[events.Event] = []

    def step(number: int) -> None:
        each = (model, twin)[number]
        optimizers[number].zero_grad()
        each(torch.ones(4, 3)).square().mean().backward()
        optimizers[number].step()

    with alone(model, optimizers[0], every_steps=2, on_event=told.append) as swarm:
        for _ in range(20):
            step(0)
        assert swarm.step == 20
        assert swarm.is_alone
        assert swarm.addresses[0].endswith(f"/p2p/{swarm.peer_id}")
        assert [member for member in family.members() if "gossiptrain.node" in member.command]
        began_s = time.monotonic()
        assert swarm.merge() is False
        assert time.monotonic() - began_s < 0.5
        with pytest.raises(UsageError, match="entered before"):
            swarm.__enter__()
    for _ in range(20):
        step(1)
    torch.testing.assert_close(model.state_dict(), twin.state_dict(), rtol=0.0, atol=0.0)
    assert len([event for event in told if isinstance(event, events.Started)]) == 1
    assert [event.alone for event in told if isinstance(event, events.RoundFailed)] == [True]
    assert_nothing_left(optimizers[0])
    family.assert_gone(within_s=2.0)
    step(0)
    assert swarm.step == 20, "the optimizer does not know the swarm any more"


def test_an_error_in_the_block_comes_through_and_leaves_nothing_behind(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MARK_VARIABLE, family.mark)
    model = Constant(1.0)
    optimizer = standing_still(model)
    with pytest.raises(ZeroDivisionError), alone(model, optimizer):
        raise ZeroDivisionError
    assert_nothing_left(optimizer)
    family.assert_gone(within_s=2.0)


def test_a_port_that_is_in_use_is_named(host: Member) -> None:
    place = host.address.partition("/p2p/")[0]
    model = Constant(0.0)
    network = NetworkSettings(host_maddrs=(place,), preset="local")
    with pytest.raises(PortInUseError, match=f"Port {place.rpartition('/')[2]} is in use") as caught:
        alone(model, standing_still(model), network=network).__enter__()
    assert caught.value.exit_code == 12


def test_two_live_peers_never_share_an_identity(tmp_path: Any) -> None:
    network = LOCAL.model_copy(update={"identity_path": str(tmp_path / "key")})
    one, other = Constant(0.0), Constant(0.0)
    with alone(one, standing_still(one), network=network) as first:
        with pytest.raises(IdentityInUseError) as caught:
            alone(other, standing_still(other), network=network).__enter__()
        kept = first.peer_id
    assert caught.value.exit_code == 15
    with alone(other, standing_still(other), network=network) as again:
        assert again.peer_id == kept


# Its optimizers.


def test_of_several_optimizers_the_last_one_ends_an_inner_step() -> None:
    """As of a GAN, whose discriminator often makes several steps for one of the generator."""
    generator, discriminator = nn.Linear(2, 2), nn.Linear(2, 1)
    of_discriminator, of_generator = standing_still(discriminator), standing_still(generator)
    with alone(nn.ModuleList([generator, discriminator]), [of_discriminator, of_generator]) as swarm:
        for _ in range(4):
            for _ in range(5):
                of_discriminator.step()
            of_generator.step()
        assert swarm.step == 4
    of_generator.step()
    assert swarm.step == 4, "the optimizer does not know the swarm any more"


def test_an_optimizer_that_evaluates_the_loss_several_times_in_a_step_makes_one_inner_step() -> None:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=5)
    evaluations = 0

    def evaluated() -> float:
        nonlocal evaluations
        evaluations += 1
        optimizer.zero_grad()
        loss: torch.Tensor = model(torch.eye(3)).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    with alone(model, optimizer) as swarm:
        for _ in range(3):
            optimizer.step(evaluated)  # type: ignore[no-untyped-call]
        assert swarm.step == 3
    assert evaluations > 3


def test_a_round_never_changes_parameters_between_the_steps_of_two_optimizers() -> None:
    """A loss that was computed before the first of them steps can still be differentiated after it."""
    model, twin = (nn.ModuleList([nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), nn.Linear(2, 1)]) for _ in range(2))
    generator, critic = model
    of_critic, of_generator = standing_still(critic), standing_still(generator)
    of_twin = standing_still(twin)
    settings = GossipSettings(every_steps=1, ending_time=0.5)
    options: dict[str, Any] = {"run": "two optimizers", "network": LOCAL, "settings": settings, "take_state": False}
    with (
        gossip(twin, of_twin, **options) as other,
        gossip(model, [of_critic, of_generator], initial_peers=[other.addresses[0]], **options) as swarm,
    ):
        other_may_end = threading.Event()

        def live() -> None:
            while not other_may_end.wait(0.002):
                of_twin.step()

        thread = threading.Thread(target=live)
        thread.start()
        try:

            def have_met() -> bool:
                loss = generator(torch.ones(4, 2)).sum()
                of_critic.step()
                loss.backward()
                of_generator.step()
                return swarm.rounds >= 3

            wait_until(have_met, "three rounds of two peers")
        finally:
            other_may_end.set()
            thread.join()


# What is kept, and what is let go.


def test_what_was_kept_of_the_rounds_is_taken_over() -> None:
    model = Constant(0.0)
    optimizer = standing_still(model)
    with alone(model, optimizer, samples_per_step=8) as first:
        for _ in range(3):
            optimizer.step()
        state = first.state_dict()
    kept = state["round_counts"]
    assert kept["steps_since_snapshot"] == 3
    assert kept["samples_since_round"] == 24
    resumed = alone(model, optimizer)
    resumed.load_state_dict(state)
    with resumed as again:
        assert again.step == 3
        assert again.state_dict()["round_counts"] == kept


def test_the_shared_memory_is_let_go_of_before_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Constant(0.0)
    was_open: list[bool] = []
    swarm = alone(model, standing_still(model))
    let_go = HostCopies.close

    def watched(copies: HostCopies) -> None:
        was_open.append(len(swarm._session._node.memory.snapshot) == 1000)
        let_go(copies)

    monkeypatch.setattr(HostCopies, "close", watched)
    with swarm:
        assert not was_open
    assert was_open == [True]


# To join.


def test_a_late_member_takes_over_the_parameters_of_a_living_one(host: Member) -> None:
    told: list[events.Event] = []
    model = Constant(-1.0)
    with joining(host, model, on_event=told.append) as swarm:
        assert torch.equal(model.weight.detach(), torch.full((1000,), HOST_VALUE))
        assert 0 < swarm.step <= host.swarm.step
        assert swarm.peers == 2
    (joined,) = [event for event in told if isinstance(event, events.Joined)]
    # Parameters and momentum of the strategy `gradual`, which is the usual one.
    assert (joined.donor, joined.bytes) == (host.swarm.peer_id, 8000)
    started = next(event for event in told if isinstance(event, events.Started))
    assert not started.first


def with_gradients(model: Constant) -> torch.optim.Optimizer:
    """An Adam that sees the same gradient in every step, and changes nothing."""
    model.weight.grad = torch.full_like(model.weight, 2.0)
    return torch.optim.Adam(model.parameters(), lr=0.0)


def test_a_late_member_with_a_new_adam_is_given_second_moments_and_counts_on_from_the_donor() -> None:
    told: list[events.Event] = []
    model = Constant(-1.0)
    optimizer = torch.optim.Adam(model.parameters())
    with Member(HOST_VALUE, run="hosts", task="constant", settings=NEVER, optimizer=with_gradients) as adam:
        wait_until(lambda: adam.swarm.step > 3, "the host has made some steps")
        given: dict[str, Any] = {"run": "hosts", "task": "constant", "network": LOCAL, "settings": NEVER}
        with gossip(model, optimizer, initial_peers=[adam.address], on_event=told.append, **given) as swarm:
            state = optimizer.state[model.weight]
            assert float(state["step"]) == swarm.step
            assert state["exp_avg_sq"].numpy() / (1 - 0.999**swarm.step) == pytest.approx(4.0, rel=1e-3)
            assert not state["exp_avg"].any()
    (joined,) = [event for event in told if isinstance(event, events.Joined)]
    assert (joined.bytes, joined.moments_bytes) == (8000, 4000)


def test_where_no_peer_has_second_moments_an_adam_begins_as_ever_and_it_is_said(host: Member) -> None:
    told: list[events.Event] = []
    model = Constant(-1.0)
    optimizer = torch.optim.Adam(model.parameters())
    given: dict[str, Any] = {"run": "hosts", "task": "constant", "network": LOCAL, "settings": NEVER}
    with gossip(model, optimizer, initial_peers=[host.address], on_event=told.append, **given):
        assert not optimizer.state
    (joined,) = [event for event in told if isinstance(event, events.Joined)]
    assert (joined.bytes, joined.moments_bytes) == (8000, 0)
    assert NO_MOMENTS in [event.message for event in told if isinstance(event, events.Notice)]


def test_a_compiled_model_joins_a_plain_one(host: Member) -> None:
    model = Constant(-1.0)
    compiled = torch.compile(model, backend="eager")
    assert isinstance(compiled, nn.Module)
    with joining(host, compiled):
        assert torch.equal(model.weight.detach(), torch.full((1000,), HOST_VALUE))


def test_the_own_parameters_can_be_kept(host: Member) -> None:
    model = Constant(-1.0)
    with joining(host, model, take_state=False) as swarm:
        assert torch.equal(model.weight.detach(), torch.full((1000,), -1.0))
        assert swarm.step == 0


def test_one_living_peer_among_the_initial_ones_is_enough(host: Member) -> None:
    with joining(host, initial_peers=[NOBODY, host.address]) as swarm:
        assert swarm.peers == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"run": "guests"}, "the run differs: 'guests' here, 'hosts' there"),
        ({"task": "other"}, "the task differs: 'other' here, 'constant' there"),
        ({"base": "a language model"}, "the task differs: 'constant on a language model' here, 'constant' there"),
        ({"model": Constant(0.0, elements=999)}, "the model differs: 999 averaged values here, 1,000 there"),
        ({"model": nn.Linear(999, 1)}, "the model differs: as many values, but other tensor names, shapes"),
    ],
)
def test_who_trains_something_else_is_told_what_differs(host: Member, options: dict[str, Any], words: str) -> None:
    model = options.get("model") or Constant(-1.0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(RunMismatchError, match=words) as caught:
        joining(host, **{"model": model, **options}).__enter__()
    assert caught.value.exit_code == 14
    assert host.swarm.peer_id in caught.value.what
    torch.testing.assert_close(model.state_dict(), before, rtol=0.0, atol=0.0)


def test_initial_peers_that_are_all_dead_are_named_with_the_reason() -> None:
    model = Constant(0.0)
    swarm = gossip(model, standing_still(model), run="alone", network=LOCAL, initial_peers=[NOBODY])
    with pytest.raises(PeerUnreachableError, match="None of the initial peers answers") as caught:
        swarm.__enter__()
    assert NOBODY in caught.value.what
    assert caught.value.remedy
    assert caught.value.exit_code == 13


# Together.


def test_what_a_member_learns_during_a_round_stays() -> None:
    """One member counts its steps in its parameters, the other learns nothing."""
    # Of an average that comes later than the next round is due, only a part is taken; these come long before.
    options: dict[str, Any] = {
        "settings": GossipSettings(every_seconds=2.0, ending_time=0.5),
        "every_steps": None,
        "run": "learning",
        "take_state": False,
    }
    one = Member(0.0, **options)

    def learn(optimizer: object, arguments: object, keywords: object) -> None:
        with torch.no_grad():
            one.model.weight.add_(1.0)

    one.optimizer.register_step_pre_hook(learn)
    with one, Member(0.0, initial_peers=[one.address], **options) as other:
        wait_for_rounds([one, other], 3, where=lambda event: not event.final)
    for number in sorted(other.after_round.keys() & one.after_round.keys())[:3]:
        # The other one holds the average itself; this one is ahead of it by the whole steps of meanwhile.
        ahead = (one.after_round[number] - other.after_round[number])[0].item()
        assert ahead >= 0.0
        assert ahead == pytest.approx(round(ahead), abs=1e-3)


def test_who_waits_for_others_gives_to_joiners_and_goes_on_when_they_are_there() -> None:
    model = Constant(1.0)
    with gossip(model, standing_still(model), run="waiting", network=LOCAL) as swarm:
        # Its end waits for this member, which makes no steps.
        hasty = GossipSettings(matchmaking_time=0.5, ending_time=0.5)
        newcomer = Member(-1.0, run="waiting", settings=hasty, initial_peers=[swarm.addresses[0]])
        newcomer.start()
        assert not swarm.wait_for_peers(3, until=lambda: any(isinstance(e, events.Joined) for e in newcomer.told))
        assert torch.equal(newcomer.values, torch.ones(1000))
        assert swarm.wait_for_peers(2)
        newcomer.stop()
        newcomer.join()


def test_a_joiner_counts_only_once_it_holds_the_parameters() -> None:
    """Who began without it may have ended before it is ready."""
    model = Constant(1.0)
    hasty = GossipSettings(matchmaking_time=0.5, ending_time=0.5)
    with gossip(model, standing_still(model), run="waiting", network=LOCAL) as swarm:
        newcomer = Member(-1.0, run="waiting", settings=hasty, initial_peers=[swarm.addresses[0]])
        newcomer.start()

        def is_there() -> bool:
            # The newcomer is not served meanwhile.
            swarm._session.inbox.hear_only(control.PeerChanged)
            return swarm.peers == 2

        wait_until(is_there, "the newcomer is known")
        assert not swarm.wait_for_peers(2, until=lambda: True)
        assert swarm.wait_for_peers(2)
        assert torch.equal(newcomer.values, torch.ones(1000))
        newcomer.stop()
        newcomer.join()


class Ending:
    """Another member, in a thread, that makes one step, says when it expects to end, and ends when it may."""

    def __init__(self, first: Gossip, *, expects_s: float) -> None:
        self.model = Constant(-1.0)
        self.told: list[events.Event] = []
        self.has_said = threading.Event()
        self.may_end = threading.Event()
        self._options: dict[str, Any] = {"run": "ending", "network": LOCAL, "take_state": False, "every_steps": 10**9}
        self._options |= {"initial_peers": [first.addresses[0]], "on_event": self.told.append}
        self._expects_s = expects_s
        self._thread = threading.Thread(target=self._live)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self.has_said.wait(60.0)
        return self

    def __exit__(self, *exception: object) -> None:
        self.may_end.set()
        self._thread.join(60.0)
        assert not self._thread.is_alive()

    def _live(self) -> None:
        optimizer = standing_still(self.model)
        with gossip(self.model, optimizer, **self._options) as swarm:
            optimizer.step()
            swarm.expect_end(self._expects_s)
            self.has_said.set()
            while not self.may_end.wait(0.01):
                swarm.listen()


def test_who_has_made_its_steps_waits_for_those_that_end_soon_and_merges_with_them() -> None:
    model = Constant(1.0)
    with gossip(model, standing_still(model), run="ending", network=LOCAL, every_steps=10**9) as first:
        with Ending(first, expects_s=30.0) as second:
            asked = 0
            assert first.wait_for_peers(2)

            def let_it_end() -> bool:
                nonlocal asked
                asked += 1
                if asked == 3:
                    second.may_end.set()
                return False

            ended = first.end(Farewell(grace=Grace.usual(10.0, longest_s=60.0), patience_s=10.0), until=let_it_end)
            assert asked >= 3, "it was waited for"
            assert ended.together
            assert len(ended.merged_with) == 1
        assert any(isinstance(event, events.RoundCommitted) and event.final for event in second.told)
        assert torch.equal(model.weight, second.model.weight)


@pytest.mark.parametrize("request_to_stop", [False, True])
def test_who_trains_on_is_waited_for_no_longer_than_the_least_grace_or_until_somebody_asks(
    request_to_stop: bool,
) -> None:
    model = Constant(1.0)
    least_s = 60.0 if request_to_stop else 0.5
    with (
        Member(3.0, run="goes on", every_steps=10**9) as other,
        gossip(model, standing_still(model), run="goes on", network=LOCAL, initial_peers=[other.address]) as first,
    ):
        assert first.wait_for_peers(2)
        farewell = Farewell(grace=Grace(longest_s=60.0, unknown_s=0.0, least_s=least_s), patience_s=10.0)
        began_s = time.monotonic()
        ended = first.end(farewell, until=lambda: request_to_stop)
        assert time.monotonic() - began_s < 30.0
        assert ended.merged_with == (other.swarm.peer_id,)


def test_a_merge_in_the_middle_does_not_take_the_place_of_the_one_at_the_end() -> None:
    model = Constant(1.0)
    optimizer = standing_still(model)
    options: dict[str, Any] = {"run": "middle", "take_state": False}
    with Member(3.0, every_steps=10**9, **options) as other:
        with gossip(model, optimizer, network=LOCAL, initial_peers=[other.address], **options) as swarm:
            assert swarm.wait_for_peers(2)
            assert swarm.merge()
            between = model.weight[0].item()
            assert 1.0 < between < 3.0
            with torch.no_grad():
                model.weight.fill_(8.0)
            optimizer.step()
            other.stop()
        assert torch.equal(model.weight.detach(), other.values)
        assert between < other.values[0].item() < 8.0


@pytest.mark.parametrize("speeds_s", [(0.002, 0.002), (0.002, 0.004, 0.007)])
def test_own_loops_that_end_at_different_moments_end_with_one_model(speeds_s: tuple[float, ...]) -> None:
    """Each makes as many steps at a speed of its own, and learns in each of them."""
    models = [Constant(float(number)) for number in range(len(speeds_s))]
    addresses: list[str] = []

    def live(number: int) -> None:
        model = models[number]
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01 * (number + 1))
        given = {"run": "speeds", "network": LOCAL, "every_steps": 20, "initial_peers": addresses}
        with gossip(model, optimizer, **given) as swarm:  # type: ignore[arg-type]
            addresses.extend(swarm.addresses[:1] if number == 0 else ())
            assert swarm.wait_for_peers(len(speeds_s))
            for _ in range(300):
                optimizer.zero_grad()
                model.weight.square().sum().backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                time.sleep(speeds_s[number])

    threads = [threading.Thread(target=live, args=(number,)) for number in range(len(speeds_s))]
    threads[0].start()
    wait_until(lambda: bool(addresses), "the first is there")
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join(90.0)
        assert not thread.is_alive()
    for model in models[1:]:
        assert torch.equal(model.weight, models[0].weight)


def test_a_loop_that_only_listens_gives_to_joiners_and_keeps_its_model_until_the_next_step() -> None:
    told: list[events.Event] = []
    model = Constant(1.0)
    optimizer = standing_still(model)
    with gossip(model, optimizer, run="listening", network=LOCAL, every_steps=1, on_event=told.append) as swarm:
        hasty = GossipSettings(ending_time=0.5)
        newcomer = Member(-1.0, run="listening", every_steps=1, settings=hasty, initial_peers=[swarm.addresses[0]])
        newcomer.start()

        def newcomer_has_joined() -> bool:
            swarm.listen()
            return any(isinstance(event, events.Joined) for event in newcomer.told)

        wait_until(newcomer_has_joined, "the newcomer is given the parameters")
        assert torch.equal(newcomer.values, torch.ones(1000))
        assert swarm.peers == 1, "what does not need an answer at once is heard at the next step"
        optimizer.step()

        def round_is_over() -> bool:
            swarm.listen()
            optimizer.step()
            return swarm.rounds > 0

        def newcomer_has_left() -> bool:
            optimizer.step()
            return newcomer.has_left

        wait_until(round_is_over, "a round is heard of")
        newcomer.stop()
        wait_until(newcomer_has_left, "the newcomer leaves")
    assert torch.equal(model.weight.detach(), torch.ones(1000))


def test_parameters_that_are_not_finite_are_shown_to_nobody() -> None:
    told: list[events.Event] = []
    model = Constant(float("nan"))
    optimizer = standing_still(model)
    with Member(1.0, run="finite", every_steps=1) as healthy:
        with gossip(
            model,
            optimizer,
            run="finite",
            network=LOCAL,
            initial_peers=[healthy.address],
            take_state=False,
            every_steps=1,
            on_event=told.append,
        ) as swarm:
            for _ in range(3):
                optimizer.step()
            assert not swarm.contributing
            assert swarm.merge() is False
        warnings = [event.message for event in told if isinstance(event, events.Notice)]
        assert warnings == ["The parameters are not finite, or absurdly large; they are shown to nobody."]
    assert not healthy.rounds()
    assert torch.equal(healthy.values, torch.ones(1000))


def test_a_member_that_leaves_says_goodbye(host: Member) -> None:
    with joining(host) as swarm:
        joiner = swarm.peer_id
        wait_until(lambda: ("joined", joiner) in changes(host), "the host hears of the joiner")
    wait_until(lambda: ("left", joiner) in changes(host), "the host hears the goodbye")


def changes(member: Member) -> list[tuple[str, str]]:
    return [(event.change, event.peer_id) for event in member.told if isinstance(event, events.PeerChanged)]


def test_every_error_of_gossip_is_a_gossip_error() -> None:
    for kind in (AddressError, IdentityInUseError, PeerUnreachableError, PortInUseError, RunMismatchError, UsageError):
        assert issubclass(kind, GossipError)
