"""The promises of a round, without faults and with every kind of fault."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossiptrain.config import CodecName, GossipSettings
from gossiptrain.core.averaging import clipped_weights, contraction_with_alpha
from gossiptrain.core.movement import Radii
from gossiptrain.net.transport import Stream
from gossiptrain.net.virtual.network import VirtualNetwork
from gossiptrain.net.virtual.wires import LinkSettings
from gossiptrain.swarm.contribution import Contribution
from gossiptrain.swarm.exchange_context import LOOK_S
from gossiptrain.swarm.participation import AveragedRound
from tests.swarm.swarms import ELEMENTS, TIMING, Swarm, swarm_of
from tests.transports import Kind, MakeTransport, on_both_transports, run_on, until


def values_of(swarm: Swarm) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float32]]]:
    return {name: peer.values.copy() for name, peer in swarm.peers.items()}


def committed(rounds: dict[str, AveragedRound | None]) -> dict[str, AveragedRound]:
    return {name: found for name, found in rounds.items() if found is not None and found.result.committed}


@on_both_transports
@pytest.mark.parametrize("count", [2, 5])
def test_everyone_takes_over_bitwise_the_same_average_and_the_mean_is_conserved(kind: Kind, count: int) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, count) as swarm:
            before = np.mean(list(values_of(swarm).values()), axis=0, dtype=np.float64)
            rounds = await swarm.average()
            assert len(committed(rounds)) == count
            after = list(values_of(swarm).values())
            assert len({values.tobytes() for values in after}) == 1
            assert np.linalg.norm(after[0] - before) <= 1e-6 * np.linalg.norm(before)
            assert len({found.result.digest for found in committed(rounds).values()}) == 1

    run_on(kind, scenario)


@on_both_transports
def test_contributions_are_weighted_by_the_samples_seen(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            before = values_of(swarm)
            samples = {"a": 100, "b": 200, "c": 100}
            await asyncio.gather(*(swarm.peers[name].average(samples=count) for name, count in samples.items()))
            weights = clipped_weights(list(samples.values()))
            expected = sum(weight * before[name] for weight, name in zip(weights, samples, strict=True))
            assert np.allclose(swarm.peers["a"].values, expected, atol=1e-5)

    run_on(kind, scenario)


@on_both_transports
def test_each_member_sends_the_least_possible(kind: Kind) -> None:
    """2 (k - 1) / k models per member, and a little for the headers."""

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            model_bytes = swarm.peers["a"].values.nbytes
            for found in committed(await swarm.average()).values():
                assert 0 <= found.result.bytes_sent - 1.5 * model_bytes < 1000

    run_on(kind, scenario)


def far_from(expected: np.ndarray[tuple[int], np.dtype[np.float64]], swarm: Swarm) -> float:
    """How far the values, which all peers have in common, are from those, relative to their size."""
    (values,) = {peer.values.tobytes() for peer in swarm.peers.values()}
    found = np.frombuffer(values, np.float32)
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def mean_of(swarm: Swarm) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.asarray(np.mean(list(values_of(swarm).values()), axis=0, dtype=np.float64))


@on_both_transports
@pytest.mark.parametrize(("codec", "loss"), [("fp16", 1e-3), ("bf16", 6e-3)])
def test_with_half_the_bytes_all_still_hold_bitwise_one_average(kind: Kind, codec: CodecName, loss: float) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4, settings=GossipSettings(matchmaking_time=2.0, codec=codec)) as swarm:
            before = mean_of(swarm)
            rounds = committed(await swarm.average())
            assert len(rounds) == 4
            assert far_from(before, swarm) < loss
            for found in rounds.values():
                assert 0 <= found.result.bytes_sent - 0.75 * before.size * 4 < 1000

    run_on(kind, scenario)


@on_both_transports
@pytest.mark.parametrize(
    ("codec", "share", "bytes_per_value"), [("int8", 0.05, 1.0), ("int4", 0.6, 0.5)], ids=["int8", "int4"]
)
def test_what_is_coded_by_its_spread_errs_by_a_share_of_the_movement_as_soon_as_members_know_each_other(
    kind: Kind, codec: CodecName, share: float, bytes_per_value: float
) -> None:
    moves = np.random.default_rng(0).normal(scale=0.01, size=(8, 4, ELEMENTS))

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4, settings=GossipSettings(matchmaking_time=2.0, codec=codec)) as swarm:
            # They begin far apart, and each round tells how far for the next one.
            for number, move in enumerate(moves):
                before = mean_of(swarm)
                rounds = committed(await swarm.average())
                assert len(rounds) == 4
                if number >= 5:
                    assert all(found.result.attempts == 1 for found in rounds.values())
                    assert far_from(before, swarm) < share * 0.01, "the error is a share of the movement"
                    for found in rounds.values():
                        sent_bytes = found.result.bytes_sent
                        assert sent_bytes < 1.5 * bytes_per_value * 1.1 * ELEMENTS + 1000, "and what frames them"
                for peer, step in zip(swarm.peers.values(), move, strict=True):
                    peer.values += step.astype(np.float32)

    run_on(kind, scenario)


@pytest.mark.parametrize(("codec", "rounds"), [("int8", 5), ("int4", 20)])
def test_the_errors_of_a_coding_by_the_spread_die_out_where_nobody_moves(codec: CodecName, rounds: int) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3, settings=GossipSettings(matchmaking_time=2.0, codec=codec)) as swarm:
            for _ in range(rounds):
                before = mean_of(swarm)
                assert len(committed(await swarm.average())) == 3
            assert far_from(before, swarm) < 1e-5

    run_on("virtual", scenario)


@pytest.mark.parametrize("codec", ["int8", "int4"])
def test_a_newcomer_that_is_far_from_all_others_makes_the_group_meet_in_another_codec(codec: CodecName) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3, settings=GossipSettings(matchmaking_time=2.0, codec=codec)) as swarm:
            for _ in range(2):
                await swarm.average()
            await swarm.add("d")
            await swarm.know_each_other()
            before = mean_of(swarm)
            rounds = committed(await swarm.average())
            assert [found.result.attempts for found in rounds.values()] == [2] * 4
            assert far_from(before, swarm) < 1e-3

    run_on("virtual", scenario)


def test_peers_that_would_code_differently_do_not_code_at_all() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2, settings=GossipSettings(matchmaking_time=2.0, codec="bf16")) as swarm:
            swarm.peers["b"].swarm._matchmaker._settings = GossipSettings(matchmaking_time=2.0, codec="fp16")
            before = mean_of(swarm)
            assert len(committed(await swarm.average())) == 2
            assert far_from(before, swarm) < 1e-6

    run_on("virtual", scenario)


@given(after_s=st.floats(0.0, 0.05), codec=st.sampled_from(["int8", "int4"]))
@settings(deadline=None, max_examples=40)
def test_a_failed_attempt_in_int8_or_int4_is_repeated_in_another_codec(after_s: float, codec: CodecName) -> None:
    network = VirtualNetwork(latency_s=0.003)

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4, settings=GossipSettings(matchmaking_time=2.0, codec=codec)) as swarm:
            await swarm.average()
            for number, peer in enumerate(swarm.peers.values()):
                peer.values += np.float32(number)
            before = values_of(swarm)
            tasks = {name: asyncio.create_task(peer.average()) for name, peer in swarm.peers.items()}
            await asyncio.sleep(after_s)
            tasks["d"].cancel()
            await swarm.peers["d"].stop()
            network.crash("d")
            rounds = {name: await tasks[name] for name in "abc"}
            check_all_or_nothing(before, swarm, rounds, atol={"int8": 0.1, "int4": 0.5}[codec])
            assert len(committed(rounds)) in (0, 3)

    run_on("virtual", scenario, network=network)


def test_the_disagreement_that_is_reported_is_the_one_there_was() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            before = np.stack(list(values_of(swarm).values())).astype(np.float64)
            mean = before.mean(axis=0)
            expected = np.sqrt(((before - mean) ** 2).sum() / 4 / (mean**2).sum())
            for found in committed(await swarm.average()).values():
                assert found.result.disagreement == pytest.approx(expected, rel=1e-4)

    run_on("virtual", scenario)


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_disagreement_of_a_swarm_contracts_by_the_law(alpha: float) -> None:
    """Six peers in random groups of up to five: rho = (2 - 1) / (6 - 1), slowed down by alpha."""

    async def scenario(make: MakeTransport) -> list[float]:
        limits = GossipSettings(gossip_group_size=5, gossip_min_group_size=3, matchmaking_time=2.0)
        factors = []
        async with swarm_of(make, 6, settings=limits) as swarm:
            rng = np.random.default_rng(0)
            for _ in range(60):
                for peer in swarm.peers.values():
                    peer.values[:] = rng.normal(size=peer.values.size)
                before = np.stack(list(values_of(swarm).values())).var(axis=0).sum()
                assert len(committed(await swarm.average(alpha=alpha))) == 6
                factors.append(float(np.stack(list(values_of(swarm).values())).var(axis=0).sum() / before))
        return factors

    expected = contraction_with_alpha(1 / 5, alpha)
    assert np.mean(run_on("virtual", scenario)) == pytest.approx(expected, rel=0.05)


def test_a_full_grid_agrees_exactly_after_two_rounds() -> None:
    async def scenario(make: MakeTransport) -> None:
        limits = GossipSettings(gossip_group_size=3, matchmaking_time=2.0)
        async with swarm_of(make, 9, settings=limits) as swarm:
            mean = np.mean(list(values_of(swarm).values()), axis=0)
            if swarm.peers["a"].swarm.membership.round % 2:
                await swarm.average()
            for _ in range(2):
                assert len(committed(await swarm.average())) == 9
            for values in values_of(swarm).values():
                assert np.allclose(values, mean, atol=1e-6)

    run_on("virtual", scenario)


# Faults.


def check_all_or_nothing(
    before: dict[str, np.ndarray[tuple[int], np.dtype[np.float32]]],
    swarm: Swarm,
    rounds: dict[str, AveragedRound | None],
    *,
    atol: float = 1e-5,
) -> None:
    """Every member holds its old values, or the complete average over the members that it says took part."""
    ids = {peer.id: name for name, peer in swarm.peers.items()}
    for name, found in rounds.items():
        values = swarm.peers[name].values
        if found is None or not found.result.committed:
            assert values.tobytes() == before[name].tobytes()
            continue
        members = [ids[member] for member in found.result.members]
        expected = np.mean([before[member] for member in members], axis=0, dtype=np.float64)
        assert np.allclose(values, expected, atol=atol)


@given(
    victim=st.sampled_from("abcd"),
    after_s=st.floats(0.0, 0.06),
    second=st.sampled_from("abcd"),
    second_after_s=st.floats(0.0, 0.06),
)
@settings(deadline=None, max_examples=60)
def test_whenever_peers_crash_the_survivors_hold_one_average_or_nothing_changed(
    victim: str, after_s: float, second: str, second_after_s: float
) -> None:
    network = VirtualNetwork(latency_s=0.003)

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            before = values_of(swarm)
            tasks = {name: asyncio.create_task(peer.average()) for name, peer in swarm.peers.items()}

            async def crash(name: str, delay_s: float) -> None:
                await asyncio.sleep(delay_s)
                tasks[name].cancel()
                await swarm.peers[name].stop()
                network.crash(name)

            crashes = {victim: after_s} if victim == second else {victim: after_s, second: second_after_s}
            started_s = asyncio.get_running_loop().time()
            await asyncio.gather(*(crash(name, delay_s) for name, delay_s in crashes.items()))
            await asyncio.wait(tasks.values())
            took_s = asyncio.get_running_loop().time() - started_s
            survivors = {name: task.result() for name, task in tasks.items() if not task.cancelled()}
            check_all_or_nothing(before, swarm, survivors)
            left = {name: found for name, found in survivors.items() if name not in crashes}
            agreed = {swarm.peers[name].values.tobytes() for name in committed(left)}
            assert len(agreed) <= 1
            assert len(committed(left)) in (0, len(left))
            assert took_s <= TIMING.dial_timeout_s + 4 * TIMING.stall_timeout_s
            for name in left:
                network.find(name)

    run_on("virtual", scenario, network=network)


@given(victim=st.sampled_from("abcd"), after_s=st.floats(0.0, 0.04))
@settings(deadline=None, max_examples=30)
def test_the_group_goes_on_without_a_frozen_peer(victim: str, after_s: float) -> None:
    network = VirtualNetwork(latency_s=0.003)

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            before = values_of(swarm)
            tasks = {name: asyncio.create_task(peer.average()) for name, peer in swarm.peers.items()}
            await asyncio.sleep(after_s)
            network.freeze(victim)
            others = {name: await task for name, task in tasks.items() if name != victim}
            check_all_or_nothing(before, swarm, others)
            assert len({swarm.peers[name].values.tobytes() for name in committed(others)}) <= 1
            assert len(committed(others)) in (0, 3)
            network.thaw(victim)
            rounds = {**others, victim: await tasks[victim]}
            check_all_or_nothing(before, swarm, rounds)

    run_on("virtual", scenario, network=network)


@pytest.mark.parametrize("pair", list(itertools.combinations("abcd", 2)))
def test_of_two_peers_without_a_link_one_is_left_out(pair: tuple[str, str]) -> None:
    network = VirtualNetwork(latency_s=0.003)

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            before = values_of(swarm)
            tasks = {name: asyncio.create_task(peer.average()) for name, peer in swarm.peers.items()}
            await until(lambda: any(peer.swarm.membership.own.round for peer in swarm.peers.values()))
            network.cut(*pair)
            rounds = {name: await task for name, task in tasks.items()}
            check_all_or_nothing(before, swarm, rounds)
            assert len(committed(rounds)) in (3, 4)

    run_on("virtual", scenario, network=network)


@on_both_transports
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_contribution_that_is_not_finite_touches_nobody(kind: Kind, bad: float) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            swarm.peers["b"].values[123] = bad
            rounds = await asyncio.gather(*(peer.average() for peer in swarm.peers.values()))
            assert rounds[1] is None
            for name in "ac":
                assert np.isfinite(swarm.peers[name].values).all()
            assert swarm.peers["a"].values.tobytes() == swarm.peers["c"].values.tobytes()

    run_on(kind, scenario)


def test_a_peer_that_sends_nan_all_the_same_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sender's own check is switched off; the receivers' must hold."""

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            swarm.peers["c"].values[::7] = np.nan
            before = values_of(swarm)
            rounds = await swarm.average()
            good = {name: rounds[name] for name in "abd"}
            check_all_or_nothing(before, swarm, good)
            assert len(committed(good)) == 3
            assert len({swarm.peers[name].values.tobytes() for name in "abd"}) == 1

    monkeypatch.setattr("gossiptrain.swarm.participation.is_sound", lambda vector: True)
    run_on("virtual", scenario)


@on_both_transports
@pytest.mark.parametrize("bad", [1e13, 3e38])
def test_absurd_values_are_left_out_like_those_that_are_none(
    kind: Kind, bad: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            swarm.peers["c"].values[::7] = bad
            rounds = await swarm.average()
            assert len(committed({name: rounds[name] for name in "ab"})) == 2
            assert max(np.abs(swarm.peers[name].values).max() for name in "ab") < 100

    monkeypatch.setattr("gossiptrain.swarm.participation.is_sound", lambda vector: True)
    run_on(kind, scenario)


def clips(swarm: Swarm, *, radius: float) -> None:
    """Each peer lets contributions be no further from its own values than this."""
    for peer in swarm.peers.values():
        peer.buffers = replace(peer.buffers, radii=Radii([ELEMENTS], np.array([radius])))


@on_both_transports
def test_where_contributions_are_clipped_a_liar_pulls_no_further_than_the_radius(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            common = swarm.peers["a"].values.copy()
            for peer in swarm.peers.values():
                peer.values[:] = common
            swarm.peers["d"].values[:] = 1e4
            clips(swarm, radius=1.0)
            swarm.peers["d"].buffers = replace(swarm.peers["d"].buffers, radii=Radii([ELEMENTS], np.array([0.0])))
            assert len(committed(await swarm.average())) == 4
            held = {peer.values.tobytes() for peer in swarm.peers.values()}
            assert len(held) == 1, "all hold one average, whoever has clipped"
            # The liar's own slice is what it likes: here its own values, since it lets nobody pull.
            moved = np.abs(swarm.peers["a"].values - common)
            honest = moved < 100
            assert np.count_nonzero(~honest) <= ELEMENTS / 4 + 1
            assert np.linalg.norm(moved[honest]) <= 1.0 / 4 * (1 + 1e-3)

    run_on(kind, scenario)


@pytest.mark.parametrize("codec", ["fp32", "fp16", "int8"])
def test_where_all_are_alike_and_within_the_radius_clipping_changes_nothing(codec: CodecName) -> None:
    held = []
    for radius in (None, 1e6):

        async def scenario(make: MakeTransport, radius: float | None = radius) -> None:
            async with swarm_of(make, 3, settings=GossipSettings(matchmaking_time=2.0, codec=codec)) as swarm:
                for peer in swarm.peers.values():
                    peer.values += 2.0  # so that none points away from another
                if radius is not None:
                    clips(swarm, radius=radius)
                assert len(committed(await swarm.average())) == 3
                held.append({peer.values.tobytes() for peer in swarm.peers.values()})

        run_on("virtual", scenario)
    assert held[0] == held[1]
    assert len(held[0]) == 1


def test_a_link_that_becomes_too_slow_ends_in_a_commit_among_the_rest() -> None:
    network = VirtualNetwork(latency_s=0.003)

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            before = values_of(swarm)
            for other in "abd":
                network.set_link("c", other, settings=LinkSettings(latency_s=0.003, bandwidth_bytes_per_s=50.0))
            rounds = await swarm.average()
            check_all_or_nothing(before, swarm, rounds)
            assert len(committed({name: rounds[name] for name in "abd"})) == 3

    run_on("virtual", scenario, network=network)


# The line to a member.


def test_all_streams_of_a_round_share_the_line_at_the_speed_of_the_rounds_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[int, float | None]] = []
    monkeypatch.setattr(Stream, "share_line", lambda self, streams, bytes_per_s: told.append((streams, bytes_per_s)))

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            await swarm.average()
            first = told.copy()
            told.clear()
            await swarm.average()
            assert first == [(4, None)] * 12, "each sends on four streams and receives on as many"
            assert [streams for streams, _ in told] == [4] * 12
            assert all(speed is not None and speed > 0 for _, speed in told)

    run_on("virtual", scenario)


# What leaves first.


def round_on_lines_busy_for(seconds: float, monkeypatch: pytest.MonkeyPatch) -> dict[str, AveragedRound]:
    """What is contributed waits for the line for so long; says who committed."""

    async def scenario(make: MakeTransport) -> dict[str, AveragedRound]:
        async with swarm_of(make, 3) as swarm:
            clock = swarm.peers["a"].swarm.transport.clock
            free_s = clock.now() + seconds
            monkeypatch.setattr(Stream, "waits_for_line", lambda self: clock.now() < free_s)
            return committed(await swarm.average())

    return run_on("virtual", scenario)


def test_means_wait_for_a_line_that_is_busy_with_contributions(monkeypatch: pytest.MonkeyPatch) -> None:
    free_s = max(found.result.seconds for found in round_on_lines_busy_for(0.0, monkeypatch).values())
    busy = round_on_lines_busy_for(0.2, monkeypatch)
    assert len(busy) == 3
    for found in busy.values():
        assert found.formation_seconds + found.result.seconds > 0.2
        assert found.result.seconds < 0.2 + free_s + LOOK_S


def test_a_line_that_stays_busy_holds_means_up_and_ends_no_round(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = round_on_lines_busy_for(3600.0, monkeypatch)
    assert len(endless) == 3
    for found in endless.values():
        assert found.result.attempts == 1


def test_two_members_alone_after_a_death_still_average_but_one_does_not() -> None:
    network = VirtualNetwork(latency_s=0.003)

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            before = values_of(swarm)
            task = asyncio.create_task(swarm.peers["a"].average())
            victim = asyncio.create_task(swarm.peers["b"].average())
            await until(lambda: swarm.peers["a"].swarm.membership.own.round > 0)
            victim.cancel()
            await swarm.peers["b"].stop()
            network.crash("b")
            found = await task
            assert found is not None
            assert not found.result.committed
            assert swarm.peers["a"].values.tobytes() == before["a"].tobytes()

    run_on("virtual", scenario, network=network)


def test_members_that_received_different_averages_keep_what_they_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reducer that lies to one member is found out by the digests."""
    honest = Contribution._receive_means

    async def deceived(self: Contribution, stream: Stream) -> None:
        await honest(self, stream)
        if self._context.plan.me == "b":
            self._context.digests[self._owner].update(b"another value")

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3) as swarm:
            before = values_of(swarm)
            rounds = await swarm.average()
            assert committed(rounds) == {}
            assert all(found is not None and "different averages" in found.result.reason for found in rounds.values())
            assert all(swarm.peers[name].values.tobytes() == before[name].tobytes() for name in before)

    monkeypatch.setattr(Contribution, "_receive_means", deceived)
    run_on("virtual", scenario)


@on_both_transports
def test_the_next_round_works_after_a_member_died_in_the_last_one(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 4) as swarm:
            tasks = {name: asyncio.create_task(peer.average()) for name, peer in swarm.peers.items()}
            await until(lambda: swarm.peers["a"].swarm.membership.own.round > 0)
            tasks["d"].cancel()
            await swarm.peers["d"].stop()
            await swarm.peers["d"].swarm.transport.close()
            first = {name: await tasks[name] for name in "abc"}
            assert len(committed(first)) == 3
            second = await swarm.average("a", "b", "c")
            assert len(committed(second)) == 3
            assert all(len(found.result.members) == 3 for found in committed(second).values())

    run_on(kind, scenario)
