"""Peers on several hosts of one network find each other though none was given an address."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from benchmarks.namespaces import address_of, switched_hosts

from benchmarks import local_network
from gossiptrain.net.identity import Identity

pytestmark = pytest.mark.usefixtures("hosts_can_be_made")
LOOKING = """
import asyncio, json, sys
from gossiptrain.net.local_network import LocalNetwork
async def main():
    run, peer, addresses = json.loads(sys.argv[1])
    local = LocalNetwork.open(run, peer)
    local.look()
    await local.announce(addresses)
    found = await local.neighbours(within_s=4.0)
    print(json.dumps([sorted(found), len(local.others)]), flush=True)
    sys.stdin.readline()
    await local.close()
asyncio.run(main())
"""


@pytest.mark.timeout(400)
def test_two_peers_that_were_given_no_address_meet_within_five_seconds() -> None:
    found = local_network.meet()
    assert found.met_s is not None
    assert found.met_s < local_network.MEET_S
    assert found.round_s is not None


def test_peers_of_one_run_find_each_other_on_a_real_network_and_count_those_of_others() -> None:
    peers = [Identity.generate().peer_id for _ in range(3)]
    with switched_hosts(3) as hosts:
        processes = []
        for host, (peer, run) in enumerate(zip(peers, ("one", "one", "another"), strict=True)):
            told = json.dumps([run, peer, [f"/ip4/{address_of(host)}/tcp/4011/p2p/{peer}"]])
            command = [*hosts.on(host), sys.executable, "-c", LOOKING, told]
            processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        try:
            found = [json.loads(process.stdout.readline()) for process in processes if process.stdout is not None]
        finally:
            for process in processes:
                process.communicate("done\n", timeout=30)
    assert [addresses for addresses, _ in found] == [
        [f"/ip4/{address_of(1)}/tcp/4011/p2p/{peers[1]}"],
        [f"/ip4/{address_of(0)}/tcp/4011/p2p/{peers[0]}"],
        [],
    ]
    assert found[2][1] == 2
