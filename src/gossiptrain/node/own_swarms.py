"""The private swarms that this user has founded: one file each in the user's folder for state.

Owns these files, with the authority over the swarm, its secret, the invites that were made and the newest list of
revocations; they are the user's alone, and every peer of the user finds in them what makes it a member. A swarm goes by
the name of its run, so one that is resumed, or started a second time, is the same. Does not know what invites are sent
where, nor who lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from gossiptrain.errors import UsageError
from gossiptrain.net.small_files import read_bounded, replace_whole
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.access.private import Holding
from gossiptrain.swarm.access.revocations import Revocations
from gossiptrain.swarm.access.tokens import MOST_USES, Authority, Role, new_seed

LIMIT_BYTES = 1 << 20
MOST_INVITES = 2000
"""The oldest are forgotten."""
_SUFFIX = ".json"

_Key = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class MadeInvite(BaseModel):
    """One that was made: what is known of it without its secret."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    key: _Key
    made_s: int
    not_after_s: int
    uses: Annotated[int, Field(ge=1, le=MOST_USES)]
    role: Role


class OwnSwarm(BaseModel):
    """What stands in the file of one swarm. Secret."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    format: Literal["gossiptrain swarm"] = "gossiptrain swarm"
    version: Literal[1] = 1
    run: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    seed: _Key = Field(repr=False)
    """Of the authority."""
    secret: _Key = Field(repr=False)
    invites: Annotated[list[MadeInvite], Field(max_length=MOST_INVITES)] = Field(default_factory=list)
    revocations: Annotated[str, StringConstraints(max_length=1 << 14)] = ""

    @classmethod
    def new(cls, run: str) -> OwnSwarm:
        """One that is founded now, and kept nowhere yet."""
        return cls(run=run, seed=new_seed().hex(), secret=new_seed().hex())

    @property
    def authority(self) -> Authority:
        """Over the swarm."""
        return Authority(bytes.fromhex(self.seed))

    @property
    def revoked(self) -> Revocations:
        """The newest list; an empty one where nobody was thrown out."""
        if not self.revocations:
            return Revocations(self.authority.swarm)
        return Revocations.decode(bytes.fromhex(self.revocations))

    def holding(self, me: PeerId) -> Holding:
        """What makes a peer of this user a member."""
        authority = self.authority
        return Holding(
            authority.swarm, bytes.fromhex(self.secret), authority.credential_for(me), authority, self.revoked
        )


def usual_folder() -> Path:
    """Where they are kept: `XDG_STATE_HOME`, or what takes its place."""
    return platformdirs.user_state_path("gossiptrain") / "swarms"


class OwnSwarms:
    """All files of one folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or usual_folder()

    def path(self, run: str) -> Path:
        """The file of the swarm of this run."""
        readable = re.sub(r"[^A-Za-z0-9]+", "-", run).strip("-")[:40]
        return self.folder / f"{readable}-{hashlib.sha256(run.encode()).hexdigest()[:12]}{_SUFFIX}"

    def find(self, run: str) -> OwnSwarm | None:
        """The swarm of this run; None where this user has founded none. Raises UsageError."""
        return self._read(self.path(run))

    def found(self, run: str) -> OwnSwarm:
        """The swarm of this run, founded now where it was not before. Raises UsageError, and OSError where it cannot be
        kept."""
        with self._locked():
            swarm = self.find(run)
            if swarm is None:
                swarm = OwnSwarm.new(run)
                self._write(swarm)
            return swarm

    def all(self) -> list[OwnSwarm]:
        """All of them, those first that were used last. Raises UsageError."""
        latest_first = sorted(self.folder.glob(f"*{_SUFFIX}"), key=_used_s, reverse=True)
        found = [self._read(path) for path in latest_first]
        return [swarm for swarm in found if swarm is not None]

    def note_invite(self, run: str, invite: MadeInvite) -> None:
        """Remembers an invite that was made. Raises UsageError."""
        with self._changing(run) as swarm:
            invites = [*swarm.invites, invite][-MOST_INVITES:]
            self._write(swarm.model_copy(update={"invites": invites}))

    def revoke(self, run: str, *entries: bytes) -> Revocations:
        """Throws out peers, by their digests, and invites, by their keys. Raises UsageError."""
        with self._changing(run) as swarm:
            try:
                revoked = swarm.revoked.with_more(entries, swarm.authority)
            except ValueError as error:
                raise UsageError(
                    f"Nobody else can be thrown out: {error}.",
                    remedy="Found another swarm, with another --run, and invite those to it who are to stay.",
                ) from error
            self._write(swarm.model_copy(update={"revocations": revoked.encode().hex()}))
            return revoked

    @contextlib.contextmanager
    def _changing(self, run: str) -> Iterator[OwnSwarm]:
        try:
            with self._locked():
                swarm = self.find(run)
                if swarm is None:
                    raise UsageError(f"This user has founded no private swarm of the run {run!r} here.")
                yield swarm
        except OSError as error:
            raise _unusable(self.path(run), error.strerror or str(error)) from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Others that want to change a file wait meanwhile. Raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _write(self, swarm: OwnSwarm) -> None:
        replace_whole(self.path(swarm.run), swarm.model_dump_json(indent=1).encode())

    def _read(self, path: Path) -> OwnSwarm | None:
        try:
            content = read_bounded(path, limit_bytes=LIMIT_BYTES)
            if content is None:
                return None
            status = path.stat()
            if status.st_mode & 0o077 or status.st_uid != os.geteuid():
                raise UsageError(
                    f"The file {path} holds the secret of a swarm, and is not this user's alone.",
                    cause="Others may have read it, or put it there.",
                    remedy="Remove it, and the swarm is founded anew; or `chmod 600` it if you know that nobody has.",
                )
            swarm = OwnSwarm.model_validate_json(content)
            if not swarm.revoked.is_of(swarm.authority.swarm) and swarm.revocations:
                raise _unusable(path, "its list of revocations is not signed by its authority")
        except OSError as error:
            raise _unusable(path, error.strerror or str(error)) from error
        except ValidationError:
            raise _unusable(path, "it is not as it should be") from None  # the error would quote secrets
        except ValueError as error:
            raise _unusable(path, str(error)) from None
        return swarm


def _used_s(path: Path) -> float:
    """When the file of a swarm was changed last, or the folder beside it, where its peers of this computer are told."""
    times_s = [0.0]
    for place in (path, path.with_suffix("")):
        with contextlib.suppress(OSError):
            times_s.append(place.stat().st_mtime)
    return max(times_s)


def _unusable(path: Path, reason: str) -> UsageError:
    return UsageError(
        f"The file of a private swarm, {path}, is not usable: {reason}.",
        remedy="Repair it from a copy, or remove it: then the swarm is founded anew, and all its invites are void. "
        "XDG_STATE_HOME names another folder, and --open does without one.",
    )
