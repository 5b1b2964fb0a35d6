"""Findings, and the errors of the package among them."""

from __future__ import annotations

import pytest

from gossiptrain import errors
from gossiptrain.doctor.finding import fault_of
from gossiptrain.net.addresses import parse_listen_address
from gossiptrain.net.ports import check_listenable, port_in_use
from gossiptrain.swarm.dialling import Dialled


def test_errors_of_the_network_name_the_doctor_and_the_doctor_does_not() -> None:
    error = port_in_use(parse_listen_address("/ip4/127.0.0.1/tcp/4011"))
    assert "`gossip doctor`" in error.remedy
    found = fault_of("ports", error)
    assert "gossip doctor" not in found.remedy
    assert (found.what, found.cause) == (error.what, error.cause)
    with pytest.raises(errors.AddressError, match="gossip doctor"):
        check_listenable(parse_listen_address("/ip4/198.51.100.7/tcp/0"))
    with pytest.raises(errors.PeerUnreachableError, match="gossip doctor ADDRESS"):
        Dialled((), ("/ip4/203.0.113.7/tcp/4011: no answer",)).check()
