"""How libp2p's daemon is started for a peer.

Owns its options, its key, which lies in a file only while it starts, and the names of the sockets in its private
folder. Does not know what it is asked later.
"""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from gossiptrain.config import NetworkSettings
from gossiptrain.logs import debugging
from gossiptrain.net.identity import Identity
from gossiptrain.net.libp2p.daemon import Daemon

START_TIMEOUT_S = 30.0
CONTROL_SOCKET = "daemon.sock"
LISTEN_SOCKET = "streams.sock"
_KEY_FILE = "identity"


async def start_daemon(network: NetworkSettings, identity: Identity, *, folder: Path) -> Daemon:
    """Starts the daemon with its key and sockets in `folder`. Raises NodeFailedError."""
    key_file = folder / _KEY_FILE
    key_file.touch(mode=0o600)
    try:
        key_file.write_bytes(identity.to_protobuf())
        with importlib.resources.as_file(importlib.resources.files("hivemind.hivemind_cli") / "p2pd") as binary:
            command = [str(binary), *daemon_options(network, folder=folder)]
            environment = {"GOLOG_LOG_LEVEL": "debug" if debugging() else "error"}
            return await Daemon.start(command, environment=environment, timeout_s=START_TIMEOUT_S)
    finally:
        key_file.unlink()


def daemon_options(network: NetworkSettings, *, folder: Path) -> list[str]:
    """The options of the daemon, whose key and sockets are in `folder`."""
    options = {
        "listen": f"/unix{folder / CONTROL_SOCKET}",
        "id": folder / _KEY_FILE,
        "hostAddrs": ",".join(network.host_maddrs),
        "announceAddrs": ",".join(network.announce_maddrs),
        # Only with `relay` does a peer make itself reachable by, or carry bytes for, peers it does not know.
        "dht": int(network.relay),  # libp2p's own, in which it looks for relays
        "autoRelay": int(network.relay),
        "autonat": int(network.relay),
        "natPortMap": int(network.relay),
        "relayService": int(network.relay),
        "trustedRelays": ",".join(network.initial_peers) if network.relay else "",
        "connManager": 1,
        "idleTimeout": f"{START_TIMEOUT_S:g}s",
    }
    return [f"-{name}={value}" for name, value in options.items() if value != ""]
