"""hivemind's networking comes without its training parts, and these can still be had."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

from gossiptrain.net.libp2p.hivemind_parts import networking_parts

LIGHT = """
import sys
import gossiptrain.net.libp2p.transport
from gossiptrain.net.libp2p import hivemind_names
assert not {"torch", "scipy", "hivemind"} & set(sys.modules)
from hivemind.dht.node import DHTNode
assert DHTNode is hivemind_names.DHTNode
assert "hivemind" not in sys.modules
"""
THEN_ALL = """
import hivemind, hivemind.dht.node
assert hivemind.dht.DHTNode is DHTNode
assert hivemind.Optimizer and hivemind.DHT
"""
MISSING = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if not hasattr(finder, "invalidate_caches")]
try:
    with networking_parts():
        raise SystemExit("it was found")
except ModuleNotFoundError as error:
    assert error.name == "hivemind"
assert "hivemind" not in sys.modules
"""


@pytest.mark.parametrize(
    "script",
    [LIGHT + THEN_ALL, "from gossiptrain.net.libp2p.hivemind_parts import networking_parts" + MISSING],
    ids=["light, then all", "not installed"],
)
def test_in_a_new_process(script: str) -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_where_all_of_it_is_loaded_nothing_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = ModuleType("hivemind")
    monkeypatch.setitem(sys.modules, "hivemind", loaded)
    with networking_parts():
        assert sys.modules["hivemind"] is loaded
    assert sys.modules["hivemind"] is loaded


PREPARED = """
import logging
import gossiptrain.net.libp2p.transport
from gossiptrain.net.libp2p import hivemind_names
from gossiptrain.net.libp2p import directory as libp2p_directory
usual = hivemind_names.MSGPackSerializer
assert hivemind_names.DHTProtocol.serializer is usual
assert logging.getLogger("hivemind").level != logging.CRITICAL
libp2p_directory.prepare_hivemind()
assert hivemind_names.DHTProtocol.serializer is libp2p_directory.BoundedSerializer
assert logging.getLogger("hivemind").level == logging.CRITICAL
libp2p_directory.prepare_hivemind()
"""


def test_importing_changes_nothing_of_hivemind_until_a_transport_is_started() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", PREPARED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
