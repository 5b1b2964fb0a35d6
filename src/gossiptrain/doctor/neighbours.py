"""Whether peers are heard on the local network, so that `--join` alone would find theirs.

Owns what is said of it. Listens and asks as `--join` does, and announces nothing.
"""

from __future__ import annotations

import asyncio

from gossiptrain.doctor.finding import Finding, not_checked, ok, warning
from gossiptrain.net.identity import Identity
from gossiptrain.net.local_network import LocalNetwork

LISTENED_S = 2.0
NAME = "multicast"


async def check_neighbours() -> list[Finding]:
    """Who announces itself there."""
    try:
        local = LocalNetwork.open("", Identity.generate().peer_id)
    except OSError as error:
        return [
            warning(
                NAME,
                f"Peers of the local network cannot be looked for: {error}.",
                cause="Something else holds UDP port 5353, or this computer may not use multicast.",
                remedy="Join by an address, which needs none of it.",
            )
        ]
    try:
        local.look()
        await asyncio.sleep(LISTENED_S)
        heard = len(local.others)
    finally:
        await local.close()
    if heard:
        return [ok(NAME, f"It passes: {heard} peers announce themselves here, and --join finds one of its run.")]
    why = "Nobody announces itself on the local network, so nothing shows whether multicast passes there."
    return [not_checked(NAME, why)]
