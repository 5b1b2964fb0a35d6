"""Where a page or figures are served: `PORT` or `HOST:PORT`, and whether that is for this computer alone.

Owns this form, and which names of the server a browser may call it by. Does not know sockets.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass

from gossiptrain.errors import UsageError

LOOPBACK = "127.0.0.1"
USUAL_PORT = 8484
TRIED_PORTS = 16
"""Where no port was named: this computer may have several peers, each with a page."""
AUTO = "auto"
_FORM = re.compile(r"(?:(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):)?(?P<port>[0-9]{1,5})")


def host_and_port(text: str) -> tuple[str, int] | None:
    """Of `PORT`, for this computer alone, or `HOST:PORT`; None where it is neither."""
    found = _FORM.fullmatch(text)
    if found is None or int(found["port"]) > 65_535:
        return None
    return (found["host"] or LOOPBACK).strip("[]"), int(found["port"])


def is_place(text: str) -> bool:
    """Whether this is such a place, and no other argument of a command."""
    return text == AUTO or _FORM.fullmatch(text) is not None


@dataclass(frozen=True)
class Place:
    """ports: tried in this order; 0 is any free one."""

    host: str
    ports: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Place:
        """Raises UsageError."""
        if text == AUTO:
            return cls(LOOPBACK, (*range(USUAL_PORT, USUAL_PORT + TRIED_PORTS), 0))
        found = host_and_port(text)
        if found is None:
            raise UsageError(
                f"{text!r} is no place for a page.",
                remedy="Give a port, for this computer alone, or HOST:PORT, such as 0.0.0.0:8484 for all networks.",
            )
        return cls(found[0], (found[1],))

    @property
    def is_here_alone(self) -> bool:
        """Whether nobody on another computer can reach it."""
        if self.host == "localhost":
            return True
        address = as_address(self.host)
        return address is not None and address.is_loopback

    def url(self, port: int) -> str:
        """By which a browser on this computer finds it."""
        address = as_address(self.host)
        if address is not None and address.is_unspecified:
            return f"http://{LOOPBACK if address.version == 4 else '[::1]'}:{port}/"
        return f"http://[{self.host}]:{port}/" if ":" in self.host else f"http://{self.host}:{port}/"

    def may_be_called(self, header: str | None) -> bool:
        """Whether a `Host` header names this server and not the domain of somebody who leads browsers here.

        A page of a foreign domain whose name is made to lead to this computer (DNS rebinding) comes with that name. An
        address as a number cannot be led anywhere else.
        """
        if header is None or len(header) > 255:
            return False
        host = re.sub(r":[0-9]{1,5}$", "", header.strip().lower()) if not header.endswith("]") else header.lower()
        if host == "localhost":
            return True
        address = as_address(host.strip("[]"))
        if self.is_here_alone:
            return address is not None and address.is_loopback
        return address is not None or host in {self.host.lower(), socket.gethostname().lower()}


def as_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The host as a number; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
