"""What tests of several benchmarks need."""

from __future__ import annotations

import pytest

from benchmarks import namespaces


@pytest.fixture
def hosts_can_be_made() -> None:
    """Skips the test where this computer makes no network namespaces, and says why."""
    try:
        with namespaces.switched_hosts(2):
            return
    except OSError as error:
        pytest.skip(f"no network namespaces here: {error}")
