"""What `import gossiptrain` promises, and what it must not cost."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

import gossiptrain
from gossiptrain import errors, events
from gossiptrain.config import GossipSettings, NetworkSettings
from gossiptrain.errors import GossipError
from gossiptrain.training.gossip import gossip
from gossiptrain.training.membership import Gossip
from gossiptrain.training.saved_model import load_model

PROMISED = {
    "gossip": gossip,
    "Gossip": Gossip,
    "GossipSettings": GossipSettings,
    "NetworkSettings": NetworkSettings,
    "GossipError": GossipError,
    "load_model": load_model,
    "__version__": "0.1.0",
    "errors": errors,
    "events": events,
}

HIVEMIND = "gossiptrain.net.libp2p.hivemind_names"


def test_the_public_names_are_exactly_those_promised() -> None:
    assert set(gossiptrain.__all__) == PROMISED.keys()
    assert {name: getattr(gossiptrain, name) for name in gossiptrain.__all__} == PROMISED


def test_all_of_them_are_listed_and_come_with_a_star_import() -> None:
    assert PROMISED.keys() <= set(dir(gossiptrain))
    names: dict[str, object] = {}
    exec("from gossiptrain import *", names)
    assert PROMISED.items() <= names.items()


def test_another_name_is_an_attribute_error_that_says_which() -> None:
    with pytest.raises(AttributeError, match=r"module 'gossiptrain' has no attribute 'gosip'"):
        getattr(gossiptrain, "gosip")  # noqa: B009 - a checker would refuse the plain form


def test_no_submodule_is_hidden_behind_a_public_name() -> None:
    submodules = {module.name for module in pkgutil.iter_modules(gossiptrain.__path__)}
    assert submodules & PROMISED.keys() == {"errors", "events"}


def test_errors_and_events_are_there_without_being_imported_first() -> None:
    script = "import gossiptrain; gossiptrain.errors.GossipError; gossiptrain.events.RoundCommitted"
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("heavy", ["torch", "pydantic", "numpy"])
def test_the_package_alone_imports_nothing_heavy(heavy: str) -> None:
    assert importlib.util.find_spec(heavy) is not None
    assert not imported_by("gossiptrain.errors", heavy)


def test_a_trainer_leaves_libp2p_to_its_node() -> None:
    assert imported_by("gossiptrain.node.process", HIVEMIND)
    assert not imported_by("gossiptrain.training.trainer", HIVEMIND)


def imported_by(module: str, other: str) -> bool:
    """Whether a new interpreter that imports the module has then imported the other one as well."""
    script = f"import sys, {module}; sys.exit(3 if {other!r} in sys.modules else 0)"
    exit_code = subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode
    assert exit_code in (0, 3)
    return exit_code == 3
