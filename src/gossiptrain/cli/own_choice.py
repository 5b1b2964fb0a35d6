"""Which of the user's own private swarms a command is about.

Owns that choice: the one that was named, or the only one of which peers live here.
"""

from __future__ import annotations

from dataclasses import dataclass

from gossiptrain.cli.flags import Flag
from gossiptrain.errors import UsageError
from gossiptrain.monitor.words import printable
from gossiptrain.node.living_peers import LivingPeer, LivingPeers
from gossiptrain.node.own_swarms import OwnSwarm, OwnSwarms

RUN = Flag(("--run",), str, "Name of the run (the only one of which a peer lives here)")


@dataclass(frozen=True)
class Chosen:
    """A swarm and its peers on this computer."""

    swarm: OwnSwarm
    peers: tuple[LivingPeer, ...]
    folder: OwnSwarms

    @property
    def living(self) -> LivingPeers:
        """What they tell of themselves."""
        return LivingPeers(self.folder, self.swarm.run)


def chosen(run: str | None) -> Chosen:
    """Raises UsageError where there is none, or more than one."""
    folder = OwnSwarms()
    if run is not None:
        swarm = folder.find(run)
        if swarm is None:
            raise UsageError(
                f"This user has founded no private swarm of the run {printable(run, 60)!r} on this computer.",
                cause="Only the user who started the first peer can invite and throw out, on the computer where it was "
                "started; a peer with --open founds none.",
                remedy=f"There are: {_names(folder.all()) or 'none'}.",
            )
        return Chosen(swarm, tuple(LivingPeers(folder, run).living()), folder)
    all_swarms = folder.all()
    candidates = [
        Chosen(swarm, tuple(peers), folder)
        for swarm in all_swarms
        if (peers := LivingPeers(folder, swarm.run).living()) or len(all_swarms) == 1
    ]
    if len(candidates) != 1:
        names = _names([each.swarm for each in candidates] or all_swarms)
        what = "Peers of several private swarms" if candidates else "No peer of a private swarm of this user"
        raise UsageError(
            f"{what} live{'' if candidates else 's'} on this computer.",
            remedy=f"Say which one is meant with --run: {names}."
            if names
            else "Start the first peer: `gossip train digits`, for instance.",
        )
    return candidates[0]


def _names(swarms: list[OwnSwarm]) -> str:
    return ", ".join(sorted(repr(printable(swarm.run, 60)) for swarm in swarms))
