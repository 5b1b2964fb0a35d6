"""Whether Python, this package and the packages that it needs are installed as they should be.

Owns what is asked of the installed packages, none of which is imported for it, and whether the program of libp2p's
daemon is there. Does not know whether anything works once it runs.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from importlib import metadata

from gossiptrain import __version__
from gossiptrain.core.fingerprint import PROTOCOL_VERSION
from gossiptrain.doctor.finding import Finding, fault, fault_of, ok, warning
from gossiptrain.errors import NodeFailedError

PACKAGE = "gossiptrain"
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*([^;\[]*)")
_BOUND = re.compile(r"(>=|<=|==|<|>)\s*([0-9][0-9.]*)")


def check_packages() -> list[Finding]:
    """Versions of Python and of this package; packages that are missing or of another version than is needed."""
    about = f"gossiptrain {__version__}, protocol {PROTOCOL_VERSION}, Python {platform.python_version()}"
    try:
        requirements = metadata.requires(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return [
            warning(
                "packages",
                f"{about}; it is not installed, so the packages that it needs are not known.",
                remedy="Install it with `make setup`, or with pip install -e . in its folder.",
            )
        ]
    troubles = list(_troubles(requirements))
    if not troubles:
        return [ok("packages", f"{about}, and all packages that it needs.")]
    return [
        fault(
            "packages",
            f"{about}; {'; '.join(troubles)}.",
            cause="Another installation has removed or replaced them, or this one was cut short.",
            remedy="Install the package again into an environment of its own: `make clean`, then `make setup`.",
        )
    ]


def _troubles(requirements: list[str]) -> Iterator[str]:
    for requirement in requirements:
        if "extra ==" in requirement:
            continue
        found = _REQUIREMENT.match(requirement)
        if found is None:
            continue
        name, bounds = found.groups()
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield f"the package {name} is missing"
            continue
        if not fits(version, bounds):
            yield f"{name} {version} is installed and {bounds.strip()} needed"


def fits(version: str, bounds: str) -> bool:
    """Whether a version such as `1.1.12` is within bounds such as `>=1.1.12,<1.2`. Numbers alone count."""
    own = _numbers(version)
    for sign, text in _BOUND.findall(bounds):
        bound = _numbers(text)
        width = max(len(own), len(bound))
        left, right = ((*numbers, *[0] * (width - len(numbers))) for numbers in (own, bound))
        holds = {">=": left >= right, "<=": left <= right, "==": left == right, "<": left < right, ">": left > right}
        if not holds[sign]:
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def check_daemon_program() -> list[Finding]:
    """Whether libp2p's daemon is there and may be run; what it does then is seen when it is started."""
    # Imported here, where a fault of hivemind becomes a finding.
    from gossiptrain.net.libp2p.libp2p_daemon import check_program

    try:
        check_program()
    except NodeFailedError as error:
        return [fault_of("daemon", error)]
    return []
