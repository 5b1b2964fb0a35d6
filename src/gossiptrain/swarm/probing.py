"""Whether a member of a round still lives, and where it stands.

Owns the question and its one deadline, for everyone who has to know: a leader that misses a report, and a member that
hears nothing in an exchange. Does not know what follows from the answer.
"""

from __future__ import annotations

from gossiptrain.net.framing import receive_message, send_message
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.messages import Probe, ProbeReply, RoundState

PROBE = "/gossiptrain/probe"
NEVER_REPORTS: frozenset[RoundState] = frozenset({"unknown", "over"})
"""Answers of a member that takes no part any more: it has started anew, or has given the round up."""


async def ask(admission: Admission, peer: PeerId, probe: Probe) -> RoundState | None:
    """Where the peer stands in a round; None where it does not answer within `probe_timeout_s`."""
    try:
        async with admission.transport.clock.timeout(admission.timing.probe_timeout_s):
            stream = await admission.stream(peer, PROBE)
            try:
                await send_message(stream, probe)
                return (await receive_message(stream, ProbeReply)).state
            finally:
                stream.abort()
    except (ConnectionError, TimeoutError):
        return None
