"""Train one PyTorch model together on any number of ordinary computers, with no server.

Owns the public names, and nothing else:

    gossip, Gossip                    a swarm around any PyTorch loop
    load_model                        a model that `gossip train` has trained, from its run folder or an export
    GossipSettings, NetworkSettings   what it can be told
    GossipError                       the base of all errors; the others are in `gossiptrain.errors`
    errors, events                    the modules with all errors, and with all events that `on_event` is given
    __version__                       the version of this package
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gossiptrain import errors, events
    from gossiptrain.config import GossipSettings, NetworkSettings
    from gossiptrain.errors import GossipError
    from gossiptrain.training.gossip import gossip
    from gossiptrain.training.membership import Gossip
    from gossiptrain.training.saved_model import load_model
else:
    # Every part of this package runs this file first, also the command line before it refuses a wrong flag and the
    # process beside the trainer. They must not wait for what they do not use, so a name is imported when it is asked
    # for (PEP 562). Type checkers see the imports above and know each name's type.
    _HOMES = {
        "Gossip": "gossiptrain.training.membership",
        "GossipError": "gossiptrain.errors",
        "GossipSettings": "gossiptrain.config",
        "NetworkSettings": "gossiptrain.config",
        "gossip": "gossiptrain.training.gossip",
        "load_model": "gossiptrain.training.saved_model",
    }

    _MODULES = ("errors", "events")

    def __getattr__(name: str) -> object:
        if name in _MODULES:
            return importlib.import_module(f"{__name__}.{name}")
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [
    "Gossip",
    "GossipError",
    "GossipSettings",
    "NetworkSettings",
    "__version__",
    "errors",
    "events",
    "gossip",
    "load_model",
]
