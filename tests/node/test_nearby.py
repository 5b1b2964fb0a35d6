"""Which swarm of the local network is joined, of those whose peers announce themselves; on a network in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gossiptrain.config import NetworkSettings
from gossiptrain.core.fingerprint import RunFingerprint
from gossiptrain.errors import NotAdmittedError, PeerUnreachableError, UsageError
from gossiptrain.net.transport import PeerId
from gossiptrain.net.virtual.network import VirtualNetwork
from gossiptrain.net.virtual.time import run_virtual
from gossiptrain.node.acquaintance import Found
from gossiptrain.node.nearby import SETTLE_S, NearbySearch, Wanted
from gossiptrain.node.neighbourhood import SEARCH_S
from gossiptrain.node.own_swarms import OwnSwarms
from gossiptrain.swarm.access.private import PrivateAccess
from gossiptrain.swarm.admission import Admission
from tests.swarm.founders import Founder
from tests.swarm.swarms import TIMING, fingerprint

CIFAR = fingerprint(run="cifar10", task="cifar10/convnet 8-16-32-64")
SPRING = fingerprint(run="spring", task="cifar10/convnet 8-16-32-64")
TEXT = fingerprint(run="text", task="text/transformer 2x64x2 on 64 bytes")
ANY = Wanted()
OPEN = NetworkSettings(search_local_network=True, open=True, preset="local")
PRIVATE = NetworkSettings(search_local_network=True, preset="local")


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who has founded nothing yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


class Neighbours:
    """Peers that announce themselves, each so many seconds after the search has begun."""

    def __init__(self) -> None:
        self.network = VirtualNetwork()
        self._waiting: list[tuple[float, str]] = []

    async def add(
        self, run: RunFingerprint | None, *, after_s: float = 0.1, access: PrivateAccess | None = None, name: str = ""
    ) -> None:
        """run: None for a helper."""
        transport = self.network.transport(name or f"peer{len(self._waiting)}")
        await Admission(transport, run, timing=TIMING, access=access).open()
        self._waiting.append((after_s, transport.addresses[0]))

    def say(self, address: str, *, after_s: float = 0.1) -> None:
        """What anybody announces."""
        self._waiting.append((after_s, address))

    async def announced(self, within_s: float) -> Sequence[str]:
        clock = asyncio.get_running_loop().time
        until_s = clock() + within_s
        while (now_s := clock()) < until_s:
            said = [address for at_s, address in self._waiting if at_s <= now_s]
            self._waiting = [entry for entry in self._waiting if entry[0] > now_s]
            if said:
                return said
            await asyncio.sleep(0.05)
        return ()


def found(
    runs: dict[str, Any], wanted: Wanted = ANY, *, network: NetworkSettings = OPEN, within_s: float = 100.0
) -> RunFingerprint:
    """The run that is found. runs: by name of the peer, its fingerprint, or what else `Neighbours.add` is given."""

    async def main() -> Found:
        neighbours = Neighbours()
        for name, run in runs.items():
            given = run if isinstance(run, dict) else {"run": run}
            await neighbours.add(**given, name=name)
        return await NearbySearch(neighbours.network.transport("me"), network, wanted).among(neighbours.announced)

    return run_virtual(main(), limit_s=within_s).fingerprint


def test_the_only_swarm_is_found_whatever_it_trains_and_soon() -> None:
    assert found({"a": SPRING, "b": SPRING}, within_s=0.1 + SETTLE_S + 0.5) == SPRING


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(task="text"), TEXT),
        (Wanted(task="cifar10"), CIFAR),  # The run that was given no name.
        (Wanted(run="spring"), SPRING),
        (Wanted(task="cifar10", run="spring"), SPRING),
    ],
)
def test_of_several_swarms_the_one_that_was_named(wanted: Wanted, expected: RunFingerprint) -> None:
    assert found({"a": CIFAR, "b": SPRING, "c": TEXT}, wanted) == expected


def test_where_several_will_do_it_is_asked_which_and_all_are_named() -> None:
    with pytest.raises(UsageError) as asked:
        found({"a": CIFAR, "b": {"run": TEXT, "after_s": 0.4}})
    assert "the run 'cifar10' of 'cifar10/convnet 8-16-32-64'" in asked.value.what
    assert "the run 'text' of" in asked.value.what
    assert "--run NAME" in asked.value.remedy


def test_where_none_will_do_those_that_are_there_are_named() -> None:
    with pytest.raises(PeerUnreachableError) as failed:
        found({"a": TEXT}, Wanted(task="digits", run="mine"), within_s=SEARCH_S + 1)
    assert failed.value.what == "No peer of the run 'mine' that trains digits answers on the local network."
    assert "the run 'text'" in failed.value.cause


def test_one_that_comes_late_is_found_as_long_as_the_search_lasts() -> None:
    assert found({"a": TEXT, "b": {"run": CIFAR, "after_s": SEARCH_S - 1}}, Wanted(task="cifar10")) == CIFAR


def test_silence_ends_in_plain_words() -> None:
    with pytest.raises(PeerUnreachableError) as failed:
        found({}, within_s=SEARCH_S + 1)
    assert failed.value.what == "No peer answers on the local network."
    assert "Nothing answered at all" in failed.value.cause


def test_helpers_and_addresses_where_nobody_lives_hold_nobody_up() -> None:
    async def main() -> Found:
        neighbours = Neighbours()
        await neighbours.add(None)
        neighbours.say("/memory/nobody/p2p/nobody")
        await neighbours.add(TEXT)
        return await NearbySearch(neighbours.network.transport("me"), OPEN, ANY).among(neighbours.announced)

    assert run_virtual(main(), limit_s=2.0).fingerprint == TEXT


def test_an_address_where_nobody_lives_is_said_to_be_so() -> None:
    async def main() -> Found:
        neighbours = Neighbours()
        neighbours.say("/memory/nobody/p2p/nobody")
        return await NearbySearch(neighbours.network.transport("me"), OPEN, ANY).among(neighbours.announced)

    with pytest.raises(PeerUnreachableError) as failed:
        run_virtual(main())
    assert "announces itself and cannot be reached" in failed.value.cause


def test_an_open_swarm_is_not_joined_by_one_that_was_not_told_so() -> None:
    with pytest.raises(NotAdmittedError, match="is of an open swarm"):
        found({"a": TEXT}, network=PRIVATE)


def private(run: RunFingerprint, name: str, founder: Founder | None = None) -> dict[str, Any]:
    """A peer of a private swarm of this user's, or of a founder elsewhere."""
    me = PeerId(name)
    if founder is not None:
        return {"run": run, "access": founder.own(me)}
    holding = OwnSwarms().found(run.run).holding(me)
    return {"run": run, "access": PrivateAccess(me, holding, unix_time=time.time)}


@pytest.mark.parametrize("network", [OPEN, PRIVATE])
def test_private_swarms_of_others_tell_nothing(network: NetworkSettings) -> None:
    with pytest.raises(NotAdmittedError) as refused:
        found({"a": private(SPRING, "a", Founder())}, network=network)
    assert "private swarm" in refused.value.what
    assert "spring" not in str(refused.value)


def test_the_own_private_swarm_is_found_among_those_of_others() -> None:
    neighbours = {"a": private(SPRING, "a", Founder()), "b": private(CIFAR, "b"), "c": TEXT}
    assert found(neighbours, network=PRIVATE) == CIFAR
    assert found(neighbours, network=OPEN) == TEXT
