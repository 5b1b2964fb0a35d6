"""Faults of another peer and of its address, planted for real on this computer: the doctor names each."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from tests.doctor.stage import ID, Fault, Stage, each_of

LATER = "import time; now = time.time; time.time = lambda: now() + 7200"
"""A process that begins so has a clock that is two hours ahead."""
OLDER = "import gossiptrain.core.fingerprint as fingerprint; fingerprint.PROTOCOL_VERSION = 5"
STRANGER = (
    "from gossiptrain.swarm.admission import Admission\nasync def open(self): pass\nAdmission.open = open\nimport sys"
)
"""A process that begins so speaks libp2p, and nothing of this project's."""


def nobody(stage: Stage) -> Sequence[str]:
    return [f"/ip4/127.0.0.1/tcp/{stage.listening()}"]


def mistyped(stage: Stage) -> Sequence[str]:
    return [f"127.0.0.1:4011/p2p/{ID}"]


def half_an_id(stage: Stage) -> Sequence[str]:
    return [f"/ip4/127.0.0.1/tcp/4011/p2p/{ID[:20]}"]


def listen_address(stage: Stage) -> Sequence[str]:
    return [f"/ip4/0.0.0.0/tcp/4011/p2p/{ID}"]


def placeholder(stage: Stage) -> Sequence[str]:
    return ["/ip4/127.0.0.1/tcp/4011/p2p/<PEER_ID>"]


def dead(stage: Stage) -> Sequence[str]:
    peer, address = stage.helper()
    peer.signal(signal.SIGTERM)
    peer.wait()
    return [address]


def frozen(stage: Stage) -> Sequence[str]:
    peer, address = stage.helper()
    for member in stage.family.members():
        member.signal(signal.SIGSTOP)
    assert peer.process.poll() is None
    return [address]


def frozen_but_for_its_daemon(stage: Stage) -> Sequence[str]:
    peer, address = stage.helper()
    peer.signal(signal.SIGSTOP)
    return [address]


def started_anew(stage: Stage) -> Sequence[str]:
    _, address = stage.helper()
    return [f"{address.rpartition('/')[0]}/{ID}"]


def silent_program(stage: Stage) -> Sequence[str]:
    return [f"/ip4/127.0.0.1/tcp/{stage.listening()}/p2p/{ID}"]


def web_server(stage: Stage) -> Sequence[str]:
    port = stage.listening(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    return [f"/ip4/127.0.0.1/tcp/{port}/p2p/{ID}"]


def of_another_project(stage: Stage) -> Sequence[str]:
    return [stage.helper(patch=STRANGER)[1]]


def of_another_version(stage: Stage) -> Sequence[str]:
    return [stage.helper(patch=OLDER)[1]]


def with_another_clock(stage: Stage) -> Sequence[str]:
    return [stage.helper(patch=LATER)[1]]


def helper(stage: Stage) -> Sequence[str]:
    return [stage.helper()[1]]


def trainer_of_another_run(stage: Stage) -> Sequence[str]:
    return ["--task", "digits", "--run", "ours", stage.family.train("--run", "theirs").address()]


def trainer_of_another_task(stage: Stage) -> Sequence[str]:
    return ["--task", "cifar10", stage.family.train().address()]


def relay_that_carries_nobody(stage: Stage) -> Sequence[str]:
    return [f"{stage.helper()[1]}/p2p-circuit/p2p/{ID}"]


def name_that_does_not_exist(stage: Stage) -> Sequence[str]:
    return [f"/dns4/no-such-peer.invalid/tcp/4011/p2p/{ID}"]


FAULTS = [
    Fault("address without an id", nobody, "address", ("does not say which peer lives there", "/p2p/12D3KooW...")),
    Fault("mistyped address", mistyped, "address", ("has not the form /KIND/HOST/PROTOCOL/PORT", "looks like")),
    Fault("half an id", half_an_id, "address", ("is not the id of a peer",)),
    Fault("address to listen at", listen_address, "address", ("stands for every address of a computer",)),
    Fault("placeholder", placeholder, "address", ("'<PEER_ID>' is not the id of a peer",)),
    Fault("dead peer", dead, "TCP", ("Nothing listens at port", "has ended", "prints now")),
    Fault("frozen peer", frozen, "libp2p", ("does not answer as a peer: no answer", "frozen", "start the peer again")),
    Fault("frozen node", frozen_but_for_its_daemon, "version", ("does not say who it is", "frozen")),
    Fault("wrong id", started_anew, "libp2p", ("Another peer lives there: 12D3KooW", "--identity FILE")),
    Fault("silent program", silent_program, "libp2p", ("does not answer as a peer", "Another program has this port")),
    Fault("web server", web_server, "libp2p", ("does not answer as a peer", "Another program has this port")),
    Fault("peer of another project", of_another_project, "version", ("no peer of gossiptrain", "hivemind")),
    Fault("other version", of_another_version, "version", ("protocol 5, this computer 6", "Install the same version")),
    Fault("other clock", with_another_clock, "clocks", ("is 2:00 h behind that of the peer", "timedatectl")),
    Fault("helper", helper, "run", ("a helper and trains nothing", "gossip bootstrap"), verdict="warning"),
    Fault("other run", trainer_of_another_run, "run", ("run 'theirs'", "You asked for: digits, ours", "--run")),
    Fault("other task", trainer_of_another_task, "run", ("trains digits", "You asked for: cifar10")),
    Fault("relay without the peer", relay_that_carries_nobody, "libp2p", ("The relay does not lead to the peer",)),
    Fault("unknown name", name_that_does_not_exist, "name", ("no-such-peer.invalid is not resolved", "/ip4/")),
]


@each_of(FAULTS, short=["mistyped address", "dead peer", "frozen peer", "wrong id", "other version", "other run"])
def test_the_doctor_names_it(fault: Fault, stage: Stage) -> None:
    fault.check(stage)


def test_with_a_trainer_all_is_well(stage: Stage) -> None:
    found = stage.ask("--task", "digits", stage.family.train().address())
    of_peer = [(finding.name, finding.verdict) for finding in found.findings if finding.peer]
    assert of_peer == [
        ("address", "ok"),
        ("route", "ok"),
        ("TCP", "ok"),
        ("libp2p", "ok"),
        ("version", "ok"),
        ("run", "ok"),
        ("clocks", "ok"),
        ("seen from there", "ok"),
        ("calling back", "not checked"),
    ]


def test_several_peers_are_told_apart(stage: Stage) -> None:
    addresses = [f"/ip4/127.0.0.1/tcp/1/p2p/{ID}", stage.helper()[1]]
    found = stage.ask(*addresses)
    assert [next(f for f in found.findings if f.peer == address).name for address in addresses] == ["address"] * 2
    assert {finding.verdict for finding in found.findings if finding.peer == addresses[1]} <= {
        "ok",
        "warning",
        "not checked",
    }
