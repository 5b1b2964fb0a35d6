"""Every error a user can meet, as one tree, each class with its exit code.

    GossipError                       1
    ├── UsageError                    2    a setting or argument is wrong
    ├── NetworkError                 10    the network did not do what was asked
    │   ├── AddressError             11    a multiaddr is malformed or names no peer
    │   ├── PortInUseError           12    another program listens there
    │   ├── PeerUnreachableError     13    an initial peer does not answer
    │   ├── RunMismatchError         14    the swarm trains something else
    │   │   └── NotAdmittedError     17    the swarm is private, and this peer no member
    │   ├── IdentityInUseError       15    another live peer has this identity
    │   └── NodeFailedError          16    the process beside the trainer cannot be started
    ├── DataError                    20    the data set is not usable
    │   ├── DataMissingError         21    folder or files are not there
    │   └── DataCorruptError         22    files are there and wrong
    ├── CheckpointError              30    a checkpoint is not usable
    │   ├── CheckpointCorruptError   31    truncated, damaged, or not a checkpoint
    │   ├── CheckpointMismatchError  32    it belongs to another model or task
    │   └── CheckpointNotSavedError  33    what was learnt could not be saved at the end
    └── TrainingError                40    training cannot go on
        ├── NonFiniteLossError       41    the loss became NaN or infinite
        └── SwarmFailedError         42    the demo's swarm did not do what it should

Ctrl+C twice leaves with 130. Every message says what happened, the likely cause and what to do.
"""

from __future__ import annotations

ASK_THE_DOCTOR = "`gossip doctor` finds out what is amiss."
"""The end of a remedy that looking closer helps to find."""


class GossipError(Exception):
    """Base of all errors of this package.

    what: what happened. cause: the likely reason. remedy: what the user can do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, cause: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.cause = cause
        self.remedy = remedy

    def __str__(self) -> str:
        return "\n".join(part for part in (self.what, self.cause, self.remedy) if part)


class UsageError(GossipError):
    """A setting or argument is wrong."""

    exit_code = 2


class NetworkError(GossipError):
    """The network did not do what was asked."""

    exit_code = 10


class AddressError(NetworkError):
    """A multiaddr is malformed or names no peer."""

    exit_code = 11


class PortInUseError(NetworkError):
    """Another program listens on the requested port."""

    exit_code = 12


class PeerUnreachableError(NetworkError):
    """A peer does not answer."""

    exit_code = 13


class RunMismatchError(NetworkError):
    """The other side trains another run, task or model, or speaks another protocol version."""

    exit_code = 14


class NotAdmittedError(RunMismatchError):
    """The other side is of a private swarm and this peer is no member of it, or the other way round."""

    exit_code = 17


class IdentityInUseError(NetworkError):
    """Another live peer on this computer holds the same identity."""

    exit_code = 15


class NodeFailedError(NetworkError):
    """The process beside the trainer, or libp2p's daemon, cannot be started."""

    exit_code = 16


class DataError(GossipError):
    """The data set is not usable."""

    exit_code = 20


class DataMissingError(DataError):
    """The data folder or some of its files are not there."""

    exit_code = 21


class DataCorruptError(DataError):
    """The files of the data set are there and wrong."""

    exit_code = 22


class CheckpointError(GossipError):
    """A checkpoint is not usable."""

    exit_code = 30


class CheckpointCorruptError(CheckpointError):
    """Truncated, damaged, or not a checkpoint at all."""

    exit_code = 31


class CheckpointMismatchError(CheckpointError):
    """The checkpoint belongs to another model or task."""

    exit_code = 32


class CheckpointNotSavedError(CheckpointError):
    """What was learnt could not be saved at the end of a run, or not where it belongs."""

    exit_code = 33


class TrainingError(GossipError):
    """Training cannot go on."""

    exit_code = 40


class NonFiniteLossError(TrainingError):
    """The loss became NaN or infinite."""

    exit_code = 41


class SwarmFailedError(TrainingError):
    """The swarm of the demo did not do what it should."""

    exit_code = 42


def error_named(name: str, what: str, *, cause: str = "", remedy: str = "") -> GossipError:
    """Builds the error of class `name` again on the other side of a process boundary; unknown names give the base."""
    pending: list[type[GossipError]] = [GossipError]
    while pending:
        kind = pending.pop()
        if kind.__name__ == name:
            return kind(what, cause=cause, remedy=remedy)
        pending.extend(kind.__subclasses__())
    return GossipError(what, cause=cause, remedy=remedy)
