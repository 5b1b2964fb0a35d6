"""How a swarm trains: members tell it to newcomers, and to nobody else."""

from __future__ import annotations

import random

import pytest

from gossiptrain.config import GossipSettings
from gossiptrain.net.framing import call, decode_message, encode_message
from gossiptrain.simulate.swarms.extremes import extremes
from gossiptrain.swarm.peer import Environment, SwarmPeer
from gossiptrain.swarm.recipe import RECIPE, RECIPE_LIMIT_BYTES, ask_recipe
from gossiptrain.swarm.recipe_messages import Recipe, RecipeReply, RecipeRequest, Value
from tests.swarm.swarms import TIMING, fingerprint, swarm_of
from tests.transports import Kind, MakeTransport, on_both_transports, run_on

OURS = Recipe(task="text", variant={"model": "tiny"}, settings={"train.batch": 8, "train.learning_rate": 0.5})


async def member_with(make: MakeTransport, recipe: Recipe | None) -> SwarmPeer:
    transport = await make("member")
    member = SwarmPeer(
        Environment(transport, random.Random(0), incarnation=1),
        fingerprint(),
        settings=GossipSettings(),
        timing=TIMING,
        donate=lambda held, fragment: pytest.fail("nobody is given parameters"),
        recipe=recipe,
    )
    await member.open()
    return member


@on_both_transports
@pytest.mark.parametrize("recipe", [OURS, None])
def test_a_newcomer_hears_how_a_member_trains(kind: Kind, recipe: Recipe | None) -> None:
    async def scenario(make: MakeTransport) -> Recipe | None:
        member = await member_with(make, recipe)
        async with swarm_of(make, 1) as swarm:
            newcomer = swarm.peers["a"].swarm
            peer = await newcomer.transport.connect(member.transport.addresses[0])
            return await ask_recipe(newcomer.admission, peer)

    assert run_on(kind, scenario) == recipe


def test_a_stranger_is_told_nothing() -> None:
    async def scenario(make: MakeTransport) -> None:
        member = await member_with(make, OURS)
        stranger = await make("stranger")
        peer = await stranger.connect(member.transport.addresses[0])
        with pytest.raises(ConnectionError):
            await call(stranger, peer, protocol=RECIPE, request=RecipeRequest(), reply_kind=RecipeReply)

    run_on("virtual", scenario)


def test_numbers_stay_the_kind_of_number_that_they_are() -> None:
    settings: dict[str, Value] = {"train.epochs": 1.0, "train.batch": 1, "gossip.codec": "int8"}
    recipe = Recipe(task="digits", variant={}, settings=settings)
    heard = decode_message(encode_message(recipe), Recipe).settings
    assert [type(heard[name]) for name in settings] == [float, int, str]


def test_the_longest_recipe_can_be_told() -> None:
    assert all(len(encode_message(reply)) <= RECIPE_LIMIT_BYTES for reply in extremes(RecipeReply))
