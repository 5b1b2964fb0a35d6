"""How libp2p's daemon is started for a peer.

Owns its options, its key, which lies in a file only while it starts, and the names of the sockets in its private
folder. Does not know what it is asked later.
"""

from __future__ import annotations

import os
from pathlib import Path

from gossiptrain.config import NetworkSettings
from gossiptrain.errors import NodeFailedError
from gossiptrain.logs import debugging
from gossiptrain.net.identity import Identity
from gossiptrain.net.libp2p.daemon import Daemon
from gossiptrain.net.libp2p.hivemind_parts import daemon_program

START_TIMEOUT_S = 30.0
CONTROL_SOCKET = "daemon.sock"
LISTEN_SOCKET = "streams.sock"
_KEY_FILE = "identity"


def is_relayed(network: NetworkSettings) -> bool:
    """Whether a peer makes itself reachable through its initial peers, as one behind a NAT must."""
    return network.relay and bool(network.initial_peers)


async def start_daemon(network: NetworkSettings, identity: Identity, *, folder: Path) -> Daemon:
    """Starts the daemon with its key and sockets in `folder`. Raises NodeFailedError."""
    program = check_program()
    key_file = folder / _KEY_FILE
    key_file.touch(mode=0o600)
    try:
        key_file.write_bytes(identity.to_protobuf())
        command = [str(program), *daemon_options(network, folder=folder)]
        environment = {"GOLOG_LOG_LEVEL": "debug" if debugging() else "error"}
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


def daemon_options(network: NetworkSettings, *, folder: Path) -> list[str]:
    """The options of the daemon, whose key and sockets are in `folder`."""
    relayed = is_relayed(network)
    relays = network.relay and not relayed
    options = {
        "listen": f"/unix{folder / CONTROL_SOCKET}",
        "id": folder / _KEY_FILE,
        "hostAddrs": ",".join(network.host_maddrs),
        "announceAddrs": ",".join(network.announce_maddrs),
        # Only with `relay` does a peer make itself reachable through others, or carry bytes for them. libp2p does the
        # one only where it takes itself for unreachable and the other only where it takes itself for reachable, finds
        # neither out with so few peers, and with its own search for relays passes over those that are named.
        "autoRelay": int(relayed),
        "dht": int(relayed),  # the daemon asks for it
        "relayDiscovery": 0,
        "trustedRelays": ",".join(network.initial_peers) if relayed else "",
        "forceReachabilityPrivate": int(relayed),
        "natPortMap": int(relayed),
        "forceReachabilityPublic": int(relays),
        "relayService": int(relays),
        "autonat": int(network.relay),
        "connManager": 1,
        "idleTimeout": f"{START_TIMEOUT_S:g}s",
    }
    return [f"-{name}={value}" for name, value in options.items() if value != ""]
