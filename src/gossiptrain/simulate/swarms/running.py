"""One run of a simulated swarm, from settings to result.

Owns that a run always ends: virtual time and turns of the event loop are bounded, and what is beyond them is a
violation. Does not know several seeds.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Iterator

from gossiptrain.net.virtual.time import (
    VirtualDeadlockError,
    VirtualStandstillError,
    VirtualTimeLimitError,
    VirtualTimeLoop,
    run_virtual,
)
from gossiptrain.simulate.swarms import invariants
from gossiptrain.simulate.swarms.afflictions import Afflictions
from gossiptrain.simulate.swarms.plan import Plan, chosen, draw
from gossiptrain.simulate.swarms.results import SwarmResult
from gossiptrain.simulate.swarms.settings import SwarmSettings
from gossiptrain.simulate.swarms.world import World

LONGEST_WORDS = 2000
COLLECTIONS = (50_000, 50, 50)
"""Objects between two collections of the youngest, and how many of these come before one of older ones. Of what is made
in a run little is garbage that only the collector finds, and looking for it as often as usual takes an eighth of the
time."""


def run(settings: SwarmSettings, *, plan: Plan | None = None) -> SwarmResult:
    """Runs a swarm to its end, or until an invariant does not hold.

    plan: the faults, of which `settings.only_faults` happen; None: as drawn from the seed.
    """
    plan = draw(settings) if plan is None else plan
    afflictions = Afflictions(chosen(plan, settings.only_faults))
    world = World(settings, was_touched=afflictions.was_touched)
    stood: list[tuple[float, int]] = []

    async def course() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        try:
            await world.run(afflictions.play)
        finally:
            stood.append((loop.time(), loop.turns))
            world.is_over = True

    began_s = time.process_time()
    try:
        with _rare_collections():
            run_virtual(course(), limit_s=settings.limit_s, limit_turns=settings.limit_turns)
    except (VirtualDeadlockError, VirtualStandstillError, VirtualTimeLimitError) as error:
        at_s = stood[0][0] if stood else settings.limit_s
        world.invariants.violate(invariants.TIME_GOES_ON, at_s, str(error)[:LONGEST_WORDS])
    cpu_s = time.process_time() - began_s
    virtual_s, turns = stood[0]
    return SwarmResult(
        settings=settings,
        plan=plan,
        violations=tuple(world.invariants.violations),
        rounds=tuple(world.log.rounds),
        samples=tuple(world.log.samples),
        faults=afflictions.records(world.log.rounds, world.log.samples, delay_s=settings.timing.lifetime_s),
        reached=world.log.reached,
        virtual_s=round(virtual_s, 6),
        sent_bytes=world.network.all_sent_bytes,
        turns=turns,
        cpu_s=cpu_s,
    )


@contextlib.contextmanager
def _rare_collections() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*COLLECTIONS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
