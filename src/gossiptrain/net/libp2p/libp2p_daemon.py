"""How libp2p's daemon is started for a peer.

Owns its options, its key, which lies in a file only while it starts, and the names of the sockets in its private
folder. Does not know what it is asked later.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from gossiptrain.config import NetworkSettings
from gossiptrain.errors import NodeFailedError
from gossiptrain.logs import debugging
from gossiptrain.net.addresses import readable_addresses
from gossiptrain.net.identity import Identity
from gossiptrain.net.libp2p.daemon import Daemon
from gossiptrain.net.libp2p.hivemind_parts import daemon_program

START_TIMEOUT_S = 30.0
CONTROL_SOCKET = "daemon.sock"
LISTEN_SOCKET = "streams.sock"
_KEY_FILE = "identity"
GARBAGE_PERCENT = "50"
"""By so much the daemon's memory may grow beyond what it uses before it collects garbage, half of Go's default: under a
flood of streams it then takes two thirds of the memory."""


@dataclass(frozen=True)
class RelayLimits:
    """How much a peer carries for others: for so many that nobody can dial, so many connections of each, and so much on
    each connection in each direction, which is then made anew."""

    places: int
    connections_of_one: int
    data_bytes: int


RELAY_BUFFER_BYTES = 128 << 10
"""For each direction of each connection that is carried."""
HELPER_LIMITS = RelayLimits(places=128, connections_of_one=16, data_bytes=4 << 30)
TRAINER_LIMITS = RelayLimits(places=16, connections_of_one=8, data_bytes=1 << 30)


def carries(network: NetworkSettings) -> bool:
    """Whether a peer carries for those that nobody can dial, where they ask."""
    return network.relay is not False


async def start_daemon(network: NetworkSettings, identity: Identity, *, folder: Path, helper: bool = False) -> Daemon:
    """Starts the daemon with its key and sockets in `folder`. Raises NodeFailedError."""
    program = check_program()
    key_file = folder / _KEY_FILE
    key_file.touch(mode=0o600)
    try:
        key_file.write_bytes(identity.to_protobuf())
        command = [str(program), *daemon_options(network, folder=folder, helper=helper)]
        environment = {"GOLOG_LOG_LEVEL": "debug" if debugging() else "error", "GOGC": GARBAGE_PERCENT}
        return await Daemon.start(command, environment=environment, timeout_s=START_TIMEOUT_S)
    finally:
        key_file.unlink()


def check_program() -> Path:
    """Where the daemon's program is. Raises NodeFailedError where it is missing or may not be run."""
    remedy = "Reinstall the package hivemind, which brings it: pip install --force-reinstall --no-deps hivemind"
    try:
        program = daemon_program()
    except ModuleNotFoundError as error:
        raise NodeFailedError(
            "libp2p's daemon p2pd is missing.", cause=f"{error}.".capitalize(), remedy=remedy
        ) from error
    if not program.is_file():
        cause = f"There is no file {program}."
        raise NodeFailedError("libp2p's daemon p2pd is missing.", cause=cause, remedy=remedy)
    if not os.access(program, os.X_OK):
        raise NodeFailedError(
            "libp2p's daemon p2pd may not be run.", cause=f"{program} is not executable.", remedy=remedy
        )
    return program


def daemon_options(network: NetworkSettings, *, folder: Path, helper: bool = False) -> list[str]:
    """The options of the daemon, whose key and sockets are in `folder`. helper: it has nothing else to do."""
    relays = carries(network)
    limits = HELPER_LIMITS if helper else TRAINER_LIMITS
    listens = any(address.ip and not address.ip.is_loopback for address in readable_addresses(network.host_maddrs))
    options = {
        "listen": f"/unix{folder / CONTROL_SOCKET}",
        "id": folder / _KEY_FILE,
        "hostAddrs": ",".join(network.host_maddrs),
        "announceAddrs": ",".join(network.announce_maddrs),
        # libp2p carries for others only where it takes itself for reachable, which it does not find out with so few
        # peers. Nobody gives out the address of one that is not; places at relays are asked for by `relay_places`.
        "forceReachabilityPublic": int(relays),
        "relayService": int(relays),
        "relayMaxReservations": limits.places,
        "relayMaxCircuits": limits.connections_of_one,
        "relayBufferSize": RELAY_BUFFER_BYTES,
        "relayDataLimit": limits.data_bytes,
        "relayTimeLimit": "30m",
        "natPortMap": int(relays and listens),
        "autonat": int(relays),
        "connManager": 1,
        "idleTimeout": f"{START_TIMEOUT_S:g}s",
    }
    return [f"-{name}={value}" for name, value in options.items() if value != ""]
