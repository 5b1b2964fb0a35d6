"""Whether what a joiner was given is like what others hold, and what follows where it is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.core.averaging import Vector
from gossiptrain.net.virtual.network import VirtualNetwork
from gossiptrain.swarm.corroboration import is_unlike
from gossiptrain.swarm.download import UnlikeOthersError
from tests.swarm.joiners import Joiner, donate_from
from tests.swarm.swarms import ELEMENTS, swarm_of
from tests.transports import Kind, MakeTransport, on_both_transports, run_on

SWARM = np.random.default_rng(0).standard_normal(ELEMENTS).astype(np.float32)


def near(seed: int, *, share: float = 0.05) -> Vector:
    """Parameters of a peer that has learnt a little by itself."""
    return SWARM + np.float32(share) * np.random.default_rng(seed).standard_normal(ELEMENTS).astype(np.float32)


def garbage(kind: str) -> Vector:
    made = {
        "noise": np.random.default_rng(9).standard_normal(ELEMENTS),
        "negative": -SWARM,
        "zeros": np.zeros(ELEMENTS),
        "huge": 1e6 * SWARM,
    }
    return np.asarray(made[kind], np.float32)


LIES = pytest.mark.parametrize("lie", ["noise", "negative", "zeros", "huge"])


@LIES
def test_two_others_that_are_near_each_other_refute_what_is_far_from_both(lie: str) -> None:
    assert is_unlike(garbage(lie), [near(1), near(2)])
    assert is_unlike(garbage(lie), [near(1), garbage(lie), near(2)])


@LIES
def test_one_liar_among_those_that_are_asked_refutes_nobody(lie: str) -> None:
    assert not is_unlike(near(3), [near(1), garbage(lie)])
    assert not is_unlike(near(3), [near(1), garbage(lie), near(2)])
    assert not is_unlike(garbage(lie), [near(1)]), "of two that contradict each other nobody knows which is right"


@given(st.lists(st.floats(0.0, 0.2), min_size=4, max_size=4))
def test_peers_that_have_learnt_by_themselves_never_refute_each_other(shares: list[float]) -> None:
    own, *others = (near(seed, share=share) for seed, share in enumerate(shares))
    assert not is_unlike(own, others)


def test_where_no_two_of_the_others_agree_nothing_is_refuted() -> None:
    unlike = [np.random.default_rng(seed).standard_normal(ELEMENTS).astype(np.float32) for seed in range(4)]
    assert not is_unlike(unlike[0], unlike[1:])


@on_both_transports
def test_a_joiner_leaves_a_donor_whose_parameters_are_unlike_those_of_others(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 5) as swarm:
            liar, *honest, newcomer = swarm.peers.values()
            donate_from(liar, garbage("noise"))
            for seed, peer in enumerate(honest):
                donate_from(peer, near(seed))
            joiner = Joiner(newcomer, compared=ELEMENTS)
            received = await joiner.take_from(liar, *honest)
            assert received is not None
            assert received.donor == honest[0].id
            assert joiner.into.tobytes() == near(0).tobytes()
            assert [(donor, type(error)) for donor, error in joiner.failures] == [(liar.id, UnlikeOthersError)]

    run_on(kind, scenario)


def test_an_honest_donor_is_believed_although_others_lie_or_do_not_answer() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 5) as swarm:
            first, liar, silent, other, newcomer = swarm.peers.values()
            donate_from(first, near(0))
            donate_from(liar, garbage("negative"))
            donate_from(other, near(1))
            network.freeze(silent.name)
            received = await Joiner(newcomer, compared=ELEMENTS).take_from(first, liar, silent, other)
            assert received is not None
            assert received.donor == first.id
            network.thaw(silent.name)

    run_on("virtual", scenario, network=network)


def test_only_parameters_are_compared_and_not_what_a_strategy_keeps_beside_them() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            *donors, newcomer = swarm.peers.values()
            for seed, peer in enumerate(donors):
                beside = np.random.default_rng(seed).standard_normal(ELEMENTS // 2).astype(np.float32)
                donate_from(peer, np.concatenate([near(seed)[: ELEMENTS // 2], 100 * beside]))
            received = await Joiner(newcomer, compared=ELEMENTS // 2).take_from(*donors)
            assert received is not None
            assert received.donor == donors[0].id

    run_on("virtual", scenario)
