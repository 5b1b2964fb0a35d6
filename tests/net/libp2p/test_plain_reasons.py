"""Why the daemon could not do something, in words, some of which other peers have said."""

from __future__ import annotations

from gossiptrain.net.libp2p.daemon_control import plain_reason
from gossiptrain.net.libp2p.hivemind_names import p2pd_pb2


def test_what_another_peer_has_said_in_a_refusal_need_be_no_text() -> None:
    refusal = p2pd_pb2.ErrorResponse()
    refusal.ParseFromString(b"\x0a\x06not \xff!")
    assert plain_reason(refusal.msg) == "not \ufffd!"
    assert plain_reason(b"stream: \xff\x00 connection refused") == "connection refused: nothing listens there"
