"""What the answers of another peer mean.

Owns the findings about its id, its version and its run. All that it says is foreign text and is made harmless here.
Does not know how it is asked.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from gossiptrain.core.fingerprint import PROTOCOL_VERSION
from gossiptrain.doctor.finding import Finding, fault, ok, warning
from gossiptrain.monitor.words import printable
from gossiptrain.net.addresses import Address
from gossiptrain.swarm.messages import Hello

_ANOTHER_PEER = "another peer lives there: "


@dataclass(frozen=True)
class Expected:
    """What the other peer should train, as far as the user has said; None: anything."""

    task: str | None = None
    run: str | None = None


def no_handshake(reason: str, address: Address) -> Finding:
    """Why libp2p does not get through where something listens. reason: its own, in words."""
    if reason.startswith(_ANOTHER_PEER):
        other = printable(reason.removeprefix(_ANOTHER_PEER), 80)
        return fault(
            "libp2p",
            f"Another peer lives there: {other}",
            cause="The peer was started anew and has another id, or the end of the address was mixed up.",
            remedy=f"If it is the one that you mean: {address.place}/p2p/{other} "
            "With --identity FILE a peer keeps its id.",
        )
    if address.relayed:
        return fault(
            "libp2p",
            f"The relay does not lead to the peer: {printable(reason) or 'no answer in time'}.",
            cause="The peer has ended, or the relay does not carry for it.",
            remedy="Start the peer, and the one that carries for it, without --no-relay.",
        )
    return fault(
        "libp2p",
        f"What listens there does not answer as a peer: {printable(reason) or 'no answer in time'}.",
        cause="Another program has this port, the peer is frozen, or something on the way cuts the connection.",
        remedy=f"Look there what listens at port {address.port}, and start the peer again.",
    )


def judged(hello: Hello, expected: Expected) -> Finding:
    """What a peer of the same version trains, and whether that is what was asked for."""
    if hello.helper:
        return warning(
            "run",
            "It is a helper and trains nothing: it only leads to others.",
            cause="`gossip bootstrap` runs there.",
            remedy="That is enough where a trainer of your run has named it as well; else ask for one's address.",
        )
    run, task = printable(hello.run, 60), printable(hello.task, 60)
    said = f"It trains {task} in the run {run!r}, {hello.elements:,} values, strategy {printable(hello.strategy, 40)}."
    wanted_task = expected.task is not None and hello.task.partition("/")[0] != expected.task
    if wanted_task or (expected.run is not None and hello.run != expected.run):
        asked = ", ".join(str(each) for each in (expected.task, expected.run) if each is not None)
        return fault(
            "run",
            f"{said} You asked for: {asked}.",
            cause="It takes part in another run, and refuses everybody else.",
            remedy="Start with its task and --run, or ask for a peer of yours.",
        )
    return ok("run", said)


def is_ip(text: str) -> bool:
    """Whether what another peer calls an address is one."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def other_version(version: str) -> Finding:
    """version: what the peer says that it speaks; no number where its words cannot be read."""
    return fault(
        "version",
        f"It speaks protocol {version}, this computer {PROTOCOL_VERSION}."
        if version.isdigit()
        else f"It answers in words that protocol {PROTOCOL_VERSION} does not have.",
        cause="Another version of gossiptrain runs there; versions refuse each other.",
        remedy="Install the same version on both: `gossip --version` tells it.",
    )


def silent(reason: str) -> Finding:
    """The peer does not say who it is."""
    return fault(
        "version",
        f"The peer is there and does not say who it is: {reason}.",
        cause="It is frozen, or has far too much to do.",
        remedy="Look at that peer; start it again where it does not go on.",
    )
