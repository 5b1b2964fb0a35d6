"""Which peers of the own private swarms live on this computer, and whom they know: for who makes an invite.

Owns a small file for each, beside that of its swarm, written while the peer lives. What stands in it is a hint: it is
checked for its form, and whether its process still runs.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gossiptrain.net.small_files import read_bounded, replace_whole
from gossiptrain.net.transport import PeerId
from gossiptrain.node.own_swarms import OwnSwarms
from gossiptrain.swarm.messages import AddressText, HexText, PeerText, ShortText

LIMIT_BYTES = 64 << 10
MOST_OTHERS = 16
_SUFFIX = ".peer"
_COMMAND = ".command"


class LivingPeer(BaseModel):
    """One peer, as it tells of itself."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    format: Literal["gossiptrain living peer"] = "gossiptrain living peer"
    peer: PeerText
    pid: Annotated[int, Field(ge=1)]
    """Of its node."""
    digest: HexText
    """Of the run's fingerprint."""
    task: ShortText
    addresses: Annotated[list[AddressText], Field(max_length=64)]
    others: Annotated[list[AddressText], Field(max_length=MOST_OTHERS)]
    """One address each of other members that live."""

    @property
    def lives(self) -> bool:
        """Whether its process is there."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


class LivingPeers:
    """Those of one run."""

    def __init__(self, swarms: OwnSwarms, run: str) -> None:
        self._folder = swarms.path(run).with_suffix("")

    def tell(self, peer: LivingPeer) -> None:
        """Writes the file of a peer. Raises OSError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_whole(self._folder / f"{peer.peer}{_SUFFIX}", peer.model_dump_json().encode())

    def forget(self, peer: PeerId) -> None:
        """Removes what was told of a peer; never raises for the disk."""
        for suffix in (_SUFFIX, _COMMAND):
            with contextlib.suppress(OSError):
                (self._folder / f"{peer}{suffix}").unlink()

    def tell_command(self, peer: PeerId, command: str) -> None:
        """How others are started that are to train with a peer; never raises for the disk."""
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_whole(self._folder / f"{peer}{_COMMAND}", command.encode())

    def command(self, peer: PeerId) -> str | None:
        """What was told so."""
        try:
            content = read_bounded(self._folder / f"{peer}{_COMMAND}", limit_bytes=LIMIT_BYTES)
        except (OSError, ValueError):
            return None
        text = None if content is None else content.decode("utf-8", "replace")
        return text if text and text.isprintable() else None

    def living(self) -> list[LivingPeer]:
        """Those whose processes run; what is left of others is removed."""
        found = []
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            peer = _read(path)
            if peer is not None and peer.lives:
                found.append(peer)
            else:
                self.forget(PeerId(path.stem))
        return found


def _read(path: Path) -> LivingPeer | None:
    try:
        content = read_bounded(path, limit_bytes=LIMIT_BYTES)
        return None if content is None else LivingPeer.model_validate_json(content)
    except (OSError, ValueError, ValidationError):
        return None
