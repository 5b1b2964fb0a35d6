"""Identities: files, locks, ids and signatures."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.errors import IdentityInUseError, UsageError
from gossiptrain.net.identity import Identity, decode_base58, encode_base58, is_peer_id, verify
from gossiptrain.net.transport import PeerId

HOLDER = """
import sys
from gossiptrain.net.identity import Identity
identity = Identity.load_or_create(sys.argv[1])
print(identity.peer_id, flush=True)
sys.stdin.read()
"""


def test_an_identity_is_made_once_and_found_again(tmp_path: Path) -> None:
    file = tmp_path / "run" / "identity.key"
    with Identity.load_or_create(file) as first:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        content = file.read_bytes()
        assert content == first.to_protobuf()
        signature = first.sign(b"data")
    with Identity.load_or_create(str(file)) as second:
        assert second.peer_id == first.peer_id
        assert second.sign(b"data") == signature
        assert file.read_bytes() == content
    assert {entry.name for entry in file.parent.iterdir()} == {"identity.key", "identity.key.lock"}


def test_the_file_and_the_id_have_libp2ps_form() -> None:
    identity = Identity.generate()
    content = identity.to_protobuf()
    assert content[:4] == b"\x08\x01\x12\x40"
    assert len(content) == 68
    assert decode_base58(identity.peer_id) == b"\x00\x24\x08\x01\x12\x20" + content[-32:]
    assert identity.peer_id.startswith("12D3KooW")


def test_two_live_peers_never_share_an_identity(tmp_path: Path) -> None:
    file = tmp_path / "key"
    with (
        Identity.load_or_create(file),
        pytest.raises(IdentityInUseError, match=rf"{file} is in use .*process {os.getpid()}"),
    ):
        Identity.load_or_create(file)
    Identity.load_or_create(file).close()


def test_a_killed_holder_leaves_the_identity_free(tmp_path: Path) -> None:
    file = tmp_path / "key"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        peer_id = holder.stdout.readline().strip()
        with pytest.raises(IdentityInUseError, match=f"process {holder.pid}"):
            Identity.load_or_create(file)
        holder.kill()
        holder.wait()
    with Identity.load_or_create(file) as identity:
        assert identity.peer_id == peer_id


def foreign_contents() -> dict[str, bytes]:
    """Files that hold no key of ours."""
    good, other = Identity.generate().to_protobuf(), Identity.generate().to_protobuf()
    return {
        "empty": b"",
        "text": b"-----BEGIN PRIVATE KEY-----",
        "RSA": b"\x08\x00\x12\x80\x02" + bytes(256),
        "cut off": good[:-1],
        "too long": good + b"x",
        "huge": bytes(1 << 20),
        "halves of two keys": good[:36] + other[36:],
    }


@pytest.mark.parametrize("kind", foreign_contents())
def test_a_foreign_file_is_refused_and_left_alone(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "key"
    file.write_bytes(foreign_contents()[kind])
    content = file.read_bytes()
    for _ in range(2):  # the lock is free again after the first refusal
        with pytest.raises(UsageError, match="not usable"):
            Identity.load_or_create(file)
    assert file.read_bytes() == content


def test_a_place_that_cannot_hold_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / "file" / "key", tmp_path / "folder"):
        with pytest.raises(UsageError, match="not usable"):
            Identity.load_or_create(place)


@given(st.binary(max_size=200), st.binary(max_size=80))
def test_only_the_owner_signs(data: bytes, junk: bytes) -> None:
    alice, bob = Identity.generate(), Identity.generate()
    signature = alice.sign(data)
    assert verify(alice.peer_id, data, signature)
    assert not verify(bob.peer_id, data, signature)
    assert not verify(alice.peer_id, data + b"x", signature)
    assert not verify(alice.peer_id, data, junk)


@given(st.text(max_size=80) | st.text("123456789ABCDEFGH", max_size=200))
def test_an_id_that_is_none_has_no_signatures(text: str) -> None:
    assert not verify(PeerId(text), b"data", bytes(64))


def test_ids_are_told_from_other_text() -> None:
    peer_id = Identity.generate().peer_id
    assert is_peer_id(peer_id)
    for text in ("", "alice", peer_id[:-1], peer_id + "1", "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", "1" * 500):
        assert not is_peer_id(text)


@given(st.binary(max_size=60))
def test_base58_goes_both_ways(data: bytes) -> None:
    assert decode_base58(encode_base58(data)) == data


def test_base58_as_published() -> None:
    assert encode_base58(b"Hello World!") == "2NEpo7TZRRrLZSi2U"
    assert encode_base58(bytes.fromhex("0000287fb4cd")) == "11233QC4"
    for text in ("0", "O", "I", "l", "é", "1" * 129):
        with pytest.raises(ValueError, match="base58"):
            decode_base58(text)
