"""A real swarm on two hosts that is cut in two and healed, in the shortest form in which the halves part for good."""

from __future__ import annotations

import subprocess

import pytest

from benchmarks import namespaces, partition
from gossiptrain.config import PRESETS

CUT_S = PRESETS["local"].lifetime_s + 5.0


pytestmark = pytest.mark.usefixtures("hosts_can_be_made")


def test_packets_vanish_during_a_cut_and_pass_again_afterwards() -> None:
    with namespaces.switched_hosts(2) as hosts:
        assert reaches(hosts)
        hosts.cut()
        assert not reaches(hosts)
        hosts.heal()
        assert reaches(hosts)


@pytest.mark.timeout(400)
def test_real_halves_are_one_swarm_soon_after_the_cut() -> None:
    found = partition.measure("local", cut_s=CUT_S, peers_a_side=1)
    assert found.parted
    assert found.models == 1
    assert found.is_healed, found


def reaches(hosts: namespaces.Hosts, *, caller: int = 0, called: int = 1) -> bool:
    """Whether a connection is refused by the other host, and not lost on the way."""
    attempt = f"import socket; socket.create_connection(({namespaces.address_of(called)!r}, 9), 2)"
    done = subprocess.run([*hosts.on(caller), "python3", "-c", attempt], check=False, capture_output=True, text=True)
    return "ConnectionRefusedError" in done.stderr
