"""Whether the disk takes what a peer writes, and lets it read what it has kept.

Owns the folders that a peer writes to, trial files in them, the run folder and the identity. Does not know the data
sets.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from pathlib import Path

from gossiptrain.doctor.finding import Finding, fault, fault_of, ok, warning
from gossiptrain.errors import GossipError
from gossiptrain.monitor.words import data_size
from gossiptrain.net.identity import Identity

COMFORTABLE_BYTES = 1_000_000_000
_TRIAL_BYTES = 64 << 10
_KEPT = ("config.toml", "identity.key", "metrics.jsonl", "checkpoints")


def check_disk(out: Path, *, temporary: Path | None = None) -> list[Finding]:
    """Room in the folder of runs, and in the one for temporary files, where libp2p's daemon has its sockets."""
    places = {"runs": out, "tmp": temporary or Path(tempfile.gettempdir())}
    findings = [_room(f"disk: {name}", folder) for name, folder in places.items()]
    if any(finding.verdict != "ok" for finding in findings):
        return [finding for finding in findings if finding.verdict != "ok"]
    return [ok("disk", " ".join(finding.what for finding in findings))]


def check_run_folder(out: Path) -> list[Finding]:
    """Whether what an earlier start has kept in `out` can be read, so that the run can be continued."""
    if not out.exists():
        return []
    kept = [path for path in (out, *(out / name for name in _KEPT)) if os.path.exists(path)]
    unreadable = [path for path in kept if not _is_readable(path)]
    if unreadable:
        return [
            fault(
                "run folder",
                f"{unreadable[0]} cannot be read.",
                cause="It belongs to another user, perhaps because the run was started with sudo.",
                remedy=f"Make it yours: sudo chown -R $USER {out}",
            )
        ]
    return []


def check_identity(path: Path | None) -> list[Finding]:
    """Whether the key in `path` can be used, or one can be made there. None: each start makes its own."""
    if path is None:
        return []
    file = path.expanduser()
    if not file.exists():
        trouble = _trial(_existing(file.parent))
        if trouble is not None:
            return [_unwritable("identity", f"The identity {file} cannot be made", trouble)]
        return [ok("identity", f"{file} does not exist yet; it is made at the first start.")]
    try:
        Identity.load_or_create(file).close()
    except GossipError as error:
        return [fault_of("identity", error)]
    if stat.S_IMODE(file.stat().st_mode) & 0o077:
        return [
            warning(
                "identity",
                f"Other users of this computer may read {file}.",
                cause="Who has this key can speak as this peer.",
                remedy=f"chmod 600 {file}",
            )
        ]
    return [ok("identity", f"{file} can be used.")]


def _room(name: str, folder: Path) -> Finding:
    place = _existing(folder)
    trouble = _trial(place)
    if trouble is not None:
        return _unwritable(name, f"Nothing can be written to {place}", trouble)
    free = shutil.disk_usage(place).free
    what = f"{data_size(free)} are free in {place}."
    if free < COMFORTABLE_BYTES:
        remedy = "Make room, or name another folder with --out; TMPDIR names that for temporary files."
        return warning(name, f"Only {what}", cause="Checkpoints of larger models will not fit.", remedy=remedy)
    return ok(name, what)


def _existing(folder: Path) -> Path:
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())


def _trial(folder: Path) -> OSError | None:
    """Writes a file, as far as to the disk, and removes it."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".gossip-doctor-") as file:
            file.write(bytes(_TRIAL_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error
    return None


def _unwritable(name: str, what: str, error: OSError) -> Finding:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            cause, remedy = "The disk is full.", "Make room there, or name another folder."
        case errno.EROFS:
            cause, remedy = "The disk may only be read.", "Name a folder on another one."
        case errno.EACCES | errno.EPERM:
            cause, remedy = "This user may not write there.", "Name a folder of your own, or have it given to you."
        case _:
            cause, remedy = f"The system says: {error.strerror or error}.", "Name another folder."
    return fault(name, f"{what}.", cause=cause, remedy=remedy)


def _is_readable(path: Path) -> bool:
    """By trying: a file system may refuse what permissions allow."""
    with contextlib.suppress(OSError):
        if path.is_dir():
            with os.scandir(path) as entries:
                next(entries, None)
        else:
            with path.open("rb") as file:
                file.read(1)
        return True
    return False
