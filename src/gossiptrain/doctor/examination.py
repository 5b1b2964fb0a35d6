"""All checks at once, and an answer in time whatever hangs.

Owns what is asked, which checks there are and their order, the deadline, and the one peer that is started for the time
of the examination. Does not know what any check looks at, nor how findings are shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossiptrain.config import NetworkSettings
from gossiptrain.doctor import (
    accelerator,
    computer,
    data_sets,
    firewall,
    installation,
    names,
    ports,
    routers,
    routes,
    storage,
)
from gossiptrain.doctor.blocking import off_loop
from gossiptrain.doctor.finding import Finding, fault, fault_of, not_checked, ok, warning
from gossiptrain.doctor.road import follow
from gossiptrain.errors import GossipError, NodeFailedError
from gossiptrain.net.addresses import readable_addresses

if TYPE_CHECKING:
    from gossiptrain.net.libp2p.transport import Libp2pTransport

WITHIN_S = 8.0
"""So long checks may take, all together; with the start of the program and the end of the daemon, ten seconds."""
CLOSING_S = 1.0
Check = Callable[[], Awaitable[list[Finding]]]


@dataclass(frozen=True)
class Question:
    """What is to be examined.

    peers: addresses of other peers. network: where the own peer is to listen, and its identity. out: the folder of the
    run, or of all runs. task, run: what is to be trained, also by the peers; None: anything. device: as `--device`.
    """

    peers: tuple[str, ...] = ()
    network: NetworkSettings = field(default_factory=NetworkSettings)
    out: Path = Path("runs")
    data_dir: Path | None = None
    task: str | None = None
    run: str | None = None
    device: str | None = None


async def examine(question: Question, *, within_s: float = WITHIN_S) -> list[Finding]:
    """All findings, in an order that does not depend on which came first."""
    return await _Examination(question, within_s=within_s).run()


class _Examination:
    def __init__(self, question: Question, *, within_s: float) -> None:
        self._question = question
        self._within_s = within_s
        self._listening: list[Finding] = []
        self._of_peers: list[list[Finding]] = [[] for _ in question.peers]
        self._seen: list[tuple[str, int]] = []
        """Host and port at which relays see this computer."""

    async def run(self) -> list[Finding]:
        checks: dict[str, Check] = self._checks()
        node = asyncio.create_task(self._start_node(), name="peer of the examination")
        tasks = {name: asyncio.create_task(_begun(check), name=name) for name, check in checks.items()}
        visits = [
            asyncio.create_task(self._visit(address, node, found), name=address)
            for address, found in zip(self._question.peers, self._of_peers, strict=True)
        ]
        await asyncio.wait([*tasks.values(), *visits, node], timeout=self._within_s)
        findings = [finding for name, task in tasks.items() for finding in self._outcome(name, task)]
        findings += [*self._listening, *self._outcome_of_node(node), *self._router_as_seen(node)]
        for address, visit, found in zip(self._question.peers, visits, self._of_peers, strict=True):
            if not visit.done():
                what = f"The other steps were not done after {self._within_s:g} s. --max-seconds 60 gives more."
                found.append(not_checked("more", what))
            elif error := visit.exception():
                found.append(_stumbled("peer", error))
            findings += [replace(finding, peer=address) for finding in found]
        await self._end([*tasks.values(), *visits], node)
        return findings

    def _checks(self) -> dict[str, Check]:
        asked = self._question
        named, kept = asked.network.identity_path, asked.out / "identity.key"
        identity = Path(named) if named is not None else kept if os.path.exists(kept) else None

        def blocking(function: Callable[[], list[Finding]]) -> Check:
            return lambda: off_loop(function)

        return {
            "packages": blocking(installation.check_packages),
            "torch": lambda: accelerator.check_accelerator(asked.device),
            "memory": blocking(computer.check_memory),
            "disk": blocking(lambda: storage.check_disk(asked.out)),
            "run folder": blocking(lambda: storage.check_run_folder(asked.out)),
            "identity": blocking(lambda: storage.check_identity(identity)),
            "data": blocking(lambda: data_sets.check_data(asked.task, asked.data_dir)),
            "clock": blocking(computer.check_clock),
            "routes": blocking(routes.check_routes),
            "DNS": names.check_names,
            "NAT": routers.check_router,
            "firewall": blocking(firewall.check_firewall),
            "multicast": _check_neighbours,
        }

    def _outcome(self, name: str, task: asyncio.Task[list[Finding]]) -> list[Finding]:
        if task.done():
            error = task.exception()
            return task.result() if error is None else [_stumbled(name, error)]
        if name == "torch":
            return accelerator.unfinished()
        what = f"This check was not done after {self._within_s:g} s."
        return [fault(name, what, cause="Something that it asks does not answer: a disk, most likely.", remedy=_BUSY)]

    # The peer that asks others.

    async def _start_node(self) -> Libp2pTransport:
        """Raises GossipError."""
        found, usable = await off_loop(lambda: ports.check_ports(self._question.network))
        self._listening += found
        await off_loop(_load_libp2p)
        from gossiptrain.net.identity import Identity
        from gossiptrain.net.libp2p.transport import Libp2pTransport

        direct_port = 0 if any(finding.verdict == "fault" for finding in found) else self._question.network.direct_port
        network = NetworkSettings(host_maddrs=usable, direct_port=direct_port, relay=False)  # which asks no router
        try:
            return await Libp2pTransport.start(network, Identity.generate())
        except OSError as error:
            raise NodeFailedError(
                "libp2p's daemon p2pd cannot be started.", cause=f"The system says: {error}."
            ) from error

    def _outcome_of_node(self, node: asyncio.Task[Libp2pTransport]) -> list[Finding]:
        if not node.done():
            what = f"libp2p's daemon p2pd was not ready after {self._within_s:g} s."
            return [warning("daemon", what, cause="The computer is very busy, or the daemon hangs.", remedy=_BUSY)]
        error = node.exception()
        if isinstance(error, GossipError):
            return [fault_of("daemon", error)]
        if error is not None:
            return [_stumbled("daemon", error)]
        addresses = [text.rpartition("/p2p/")[0] for text in node.result().addresses]
        places = [place for place in addresses if "/ip4/127." not in place and "/ip6/::1/" not in place]
        said = f"Others would dial {', '.join(places)}." if places else "It listens for this computer alone."
        return [ok("daemon", f"libp2p's daemon p2pd starts and answers. {said}")]

    def _router_as_seen(self, node: asyncio.Task[Libp2pTransport]) -> list[Finding]:
        if not self._seen:
            return []  # without a peer of its own it was seen by nobody, so it has one here
        ports_of_daemon = {address.port for address in readable_addresses(node.result().addresses)}
        return routers.judged_by_others(self._seen, ports_of_daemon)

    async def _visit(self, address: str, node: asyncio.Task[Libp2pTransport], found: list[Finding]) -> None:
        place = await follow(address, found.append)
        if place is None:
            return
        try:
            transport = await asyncio.shield(node)
        except (GossipError, OSError):
            found.append(not_checked("libp2p", "libp2p's daemon does not start, so nothing more can be said."))
            return
        from gossiptrain.doctor.acquaintance import Acquaintance
        from gossiptrain.doctor.answers import Expected

        meeting = Acquaintance(transport, place, found.append)
        await meeting.make(Expected(self._question.task, self._question.run))
        if meeting.seen_at is not None:
            self._seen.append((meeting.seen_at.host, meeting.seen_at.port))

    async def _end(self, tasks: Sequence[asyncio.Task[Any]], node: asyncio.Task[Libp2pTransport]) -> None:
        for task in tasks:
            task.cancel()
        if node.done() and not node.cancelled() and node.exception() is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSING_S):
                    await node.result().close()
        node.cancel()
        await asyncio.wait([*tasks, node], timeout=CLOSING_S)


_BUSY = "Try again, with --max-seconds 60 where this computer is only slow."


def _stumbled(name: str, error: BaseException) -> Finding:
    """A check that meets what nobody thought of must not keep the others from being told."""
    return not_checked(name, f"This check stumbled: {type(error).__name__}: {str(error)[:200]}")


async def _begun(check: Check) -> list[Finding]:
    return await check()


async def _check_neighbours() -> list[Finding]:
    # Imported late: it is the one check that needs this package, which may be what is missing.
    from gossiptrain.doctor.neighbours import check_neighbours

    return await check_neighbours()


def _load_libp2p() -> None:
    """Imports what talks to libp2p: a second of work that must not hold up the other checks. Raises NodeFailedError."""
    for finding in installation.check_daemon_program():
        raise NodeFailedError(finding.what, cause=finding.cause, remedy=finding.remedy)
    try:
        importlib.import_module("gossiptrain.net.libp2p.transport")
        importlib.import_module("gossiptrain.doctor.acquaintance")
    except (ImportError, AttributeError, TypeError, OSError) as error:
        raise NodeFailedError(
            "The packages that talk to libp2p cannot be loaded.",
            cause=f"{type(error).__name__}: {str(error)[:200]}",
            remedy="Install the package again into an environment of its own: `make clean`, then `make setup`.",
        ) from error
