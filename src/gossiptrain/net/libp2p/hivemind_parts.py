"""The networking parts of hivemind, without the rest of it.

Owns how hivemind is imported, and where the program is that it brings. Its packages pull in all of hivemind, with
torch and scipy, when any part is imported: a second of start and 160 MB in every node, for code that is never called
here. Does not know what the parts do.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

_ROOT = "hivemind"
_PACKAGES = (_ROOT, f"{_ROOT}.utils", f"{_ROOT}.dht")
"""Packages whose own code imports everything. The others import what they need."""
_NAMES = {
    "logging": ("get_logger",),
    "serializer": ("MSGPackSerializer", "SerializerBase"),
    "timed_storage": ("get_dht_time",),
}
"""What the networking parts import from the package `hivemind.utils` itself, by the module that defines it."""


@contextlib.contextmanager
def networking_parts() -> Iterator[None]:
    """In this block, modules of hivemind are imported without the code of the packages around them.

    Afterwards, `import hivemind` gives all of it as ever, and shares the modules that are loaded already. Where all of
    it is there before, nothing special happens.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they speak of parts of hivemind that are not used here
        if _ROOT in sys.modules:
            yield
            return
        try:
            _put_bare_packages()
            yield
        finally:
            for name in _PACKAGES:
                sys.modules.pop(name, None)


def daemon_program() -> Path:
    """Where libp2p's daemon is, which comes with hivemind; nothing is imported. Raises ModuleNotFoundError."""
    return Path(_folder(), "hivemind_cli", "p2pd")


def _folder() -> str:
    spec = importlib.util.find_spec(_ROOT)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the package hivemind is not installed", name=_ROOT)
    return spec.submodule_search_locations[0]


def _put_bare_packages() -> None:
    folder = _folder()
    for name in _PACKAGES:
        package = ModuleType(name)
        package.__path__ = ["/".join([folder, *name.split(".")[1:]])]
        sys.modules[name] = package
    for module_name, names in _NAMES.items():
        module = importlib.import_module(f"{_ROOT}.utils.{module_name}")
        for name in names:
            setattr(sys.modules[f"{_ROOT}.utils"], name, getattr(module, name))
