"""Who is worth waiting for, and who comes last for a while."""

from __future__ import annotations

import asyncio

from gossiptrain.net.transport import Clock
from gossiptrain.net.virtual.time import run_virtual
from gossiptrain.swarm.promises import REMEMBERED_PEERS, Promises


def promises() -> Promises:
    return Promises(Clock(), held_up_for_s=60.0)


def test_everybody_is_worth_waiting_for_until_it_was_waited_for_in_vain() -> None:
    memory = promises()
    assert memory.is_worth_waiting_for("a")
    memory.broken_by(["a"])
    assert not memory.is_worth_waiting_for("a")
    assert memory.is_worth_waiting_for("b")


def test_who_takes_part_again_is_waited_for_again() -> None:
    memory = promises()
    memory.broken_by(["a", "b"])
    memory.kept_by(["a"])
    assert memory.is_worth_waiting_for("a")
    assert not memory.is_worth_waiting_for("b")


def test_a_coordinator_that_stalls_is_remembered_for_a_while() -> None:
    async def main() -> None:
        memory = promises()
        memory.stalled_by("a")
        assert memory.stalls("a")
        assert not memory.stalls("b")
        assert memory.in_order(["a", "b"]) == ("a", "b"), "as a member it does its part"
        await asyncio.sleep(61.0)
        assert not memory.stalls("a")

    run_virtual(main())


def test_who_held_a_round_up_comes_last_for_a_while_and_then_where_it_was() -> None:
    async def main() -> None:
        memory = promises()
        memory.held_up_by(["a"])
        assert memory.in_order(["a", "b", "c"]) == ("b", "c", "a")
        await asyncio.sleep(59.0)
        assert memory.in_order(["a", "b", "c"]) == ("b", "c", "a")
        await asyncio.sleep(2.0)
        assert memory.in_order(["a", "b", "c"]) == ("a", "b", "c")

    run_virtual(main())


def test_taking_part_does_not_wash_away_that_one_holds_rounds_up() -> None:
    async def main() -> None:
        memory = promises()
        memory.held_up_by(["a"])
        memory.kept_by(["a"])
        assert memory.holds_up("a")

    run_virtual(main())


def test_no_number_of_names_makes_the_memory_grow_without_end() -> None:
    async def main() -> None:
        memory = promises()
        names = [f"peer{number}" for number in range(2 * REMEMBERED_PEERS)]
        memory.broken_by(names)
        memory.held_up_by(names)
        assert sum(not memory.is_worth_waiting_for(name) for name in names) == REMEMBERED_PEERS
        assert sum(map(memory.holds_up, names)) == REMEMBERED_PEERS

    run_virtual(main())
