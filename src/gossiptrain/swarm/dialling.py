"""How this peer gets to know others: one of them, or those at several addresses.

Owns the two steps of every acquaintance that this peer begins, reaching the other and the handshake after which both
know what the other knows of the swarm; that many are dialled at the same time, so that none that says nothing holds up
the others; and what is said where nobody answers. Does not know who gave the addresses, nor when one is tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from gossiptrain.errors import NotAdmittedError, PeerUnreachableError, RunMismatchError
from gossiptrain.net.transport import PeerId, Transport, UnreachableError
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.membership import Membership

MAX_AT_ONCE = 16


class Introduction:
    """Reaches others and shakes hands with them."""

    def __init__(self, admission: Admission, membership: Membership) -> None:
        self._admission = admission
        self._transport = admission.transport
        self._membership = membership

    async def reach(self, peer: PeerId, addresses: Sequence[str]) -> None:
        """Raises ConnectionError or TimeoutError where the peer answers at none of them within `dial_timeout_s`."""
        async with self._transport.clock.timeout(self._admission.timing.dial_timeout_s):
            await self._transport.reach(peer, addresses)

    async def meet(self, peer: PeerId) -> bool:
        """Shakes hands with a peer that can be reached, and exchanges heartbeats with it.

        False where it is a helper, and no member. Raises RunMismatchError, ConnectionError or TimeoutError as
        `Admission.handshake` does.
        """
        if not await self._admission.handshake(peer):
            return False
        if not await self._membership.meet(peer, within_s=self._admission.timing.dial_timeout_s):
            raise UnreachableError(f"{peer} has let this peer in and does not answer any more")
        return True


@dataclass(frozen=True)
class Dialled:
    """Who answered, in the order of the addresses, and for each of the others its address and the reason in words."""

    reached: tuple[PeerId, ...]
    failures: tuple[str, ...]
    mismatch: RunMismatchError | None = None
    """Why the first that takes part in another run was not met."""

    def check(self) -> None:
        """Raises RunMismatchError where one takes part in another run, PeerUnreachableError where nobody answered.

        One that does not let this peer in is none of a run where others do: it may have been thrown out itself.
        """
        if self.mismatch is not None and not (self.reached and isinstance(self.mismatch, NotAdmittedError)):
            raise self.mismatch
        if self.failures and not self.reached:
            raise PeerUnreachableError(
                "None of the initial peers answers:\n  " + "\n  ".join(self.failures),
                cause="They have left, their address has changed, or a firewall stands between.",
                remedy="Use the address of any peer that is alive now; each prints its own when it starts. "
                "`gossip doctor ADDRESS` finds out where the way to it ends.",
            )


async def _nothing(peer: PeerId) -> None:
    pass


async def dial_all(
    transport: Transport,
    addresses: Sequence[str],
    *,
    timeout_s: float,
    meet: Callable[[PeerId], Awaitable[object]] = _nothing,
    connect: Callable[[str], Awaitable[PeerId]] | None = None,
) -> Dialled:
    """Dials all `addresses`, and does `meet` with each peer that answers, which may take as long again.

    connect: how; by default as `Transport.connect`.
    """
    connect = connect or transport.connect
    free = asyncio.Semaphore(MAX_AT_ONCE)

    async def dial(address: str) -> PeerId | Exception:
        async with free:
            try:
                async with transport.clock.timeout(timeout_s):
                    peer = await connect(address)
                await meet(peer)
            except (ConnectionError, TimeoutError, RunMismatchError) as error:
                return error
            return peer

    unique = list(dict.fromkeys(addresses))
    found = dict(zip(unique, await asyncio.gather(*map(dial, unique)), strict=True))
    return Dialled(
        reached=tuple(dict.fromkeys(peer for peer in found.values() if not isinstance(peer, Exception))),
        failures=tuple(
            f"{address}: {str(error) or 'no answer in time'}"
            for address, error in found.items()
            if isinstance(error, ConnectionError | TimeoutError)
        ),
        mismatch=next((error for error in found.values() if isinstance(error, RunMismatchError)), None),
    )
