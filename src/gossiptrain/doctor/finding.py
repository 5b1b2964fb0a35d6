"""What the doctor finds: one value for each check.

Owns the verdicts and how errors of the package become findings. Does not know the checks, nor how findings look.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from gossiptrain.errors import ASK_THE_DOCTOR, GossipError

Verdict: TypeAlias = Literal["ok", "warning", "fault", "not checked"]


@dataclass(frozen=True)
class Finding:
    """One check and what came of it, in whole sentences.

    name: of the check, one word or two. cause, remedy: empty where nothing is amiss. peer: the address of the other
    peer that it is about; empty where it is about this computer.
    """

    name: str
    verdict: Verdict
    what: str
    cause: str = ""
    remedy: str = ""
    peer: str = ""


def ok(name: str, what: str) -> Finding:
    """Nothing is amiss."""
    return Finding(name, "ok", what)


def warning(name: str, what: str, *, cause: str = "", remedy: str = "") -> Finding:
    """A peer can take part, and something may trouble it."""
    return Finding(name, "warning", what, cause, remedy)


def fault(name: str, what: str, *, cause: str = "", remedy: str = "") -> Finding:
    """A peer cannot take part, or not as it was asked to."""
    return Finding(name, "fault", what, cause, remedy)


def not_checked(name: str, why: str) -> Finding:
    """Nothing can be said."""
    return Finding(name, "not checked", why)


def fault_of(name: str, error: GossipError) -> Finding:
    """What `gossip train` would end with. Who reads it has called the doctor already."""
    remedy = error.remedy.removesuffix(ASK_THE_DOCTOR).strip()
    return Finding(name, "fault", error.what, error.cause, remedy)
