"""Two engines, shaken against each other in memory: who is let in, and what comes out of what went in."""

from __future__ import annotations

import contextlib
import functools
import gc
import re
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL

from gossiptrain.net.direct import tls
from gossiptrain.net.direct.tls import MAX_CERTIFICATE_BYTES, RECORD_BYTES, RECORD_OVERHEAD_BYTES, Credentials, Engine
from gossiptrain.net.transport import StreamClosedError

SIZES = [0, 1, 2, RECORD_BYTES - 1, RECORD_BYTES, RECORD_BYTES + 1, 2 * RECORD_BYTES, 200_000]
LONGEST = 200_000
ROOM = LONGEST + (LONGEST // RECORD_BYTES + 1) * RECORD_OVERHEAD_BYTES


@functools.cache
def credentials(name: str) -> Credentials:
    """One certificate by name for the whole module: a key takes a millisecond."""
    return Credentials.create()


def engine(own: str, *, expecting: str, server: bool) -> Engine:
    return Engine(credentials(own), expected=credentials(expecting).certificate, server=server)


def pump(source: Engine, target: Engine, *, piece_bytes: int = 1 << 16) -> int:
    """Carries what `source` has sealed to `target`; returns how many bytes."""
    carried = 0
    memory = memoryview(bytearray(piece_bytes))
    while taken := source.take(memory):
        target.put(memory[:taken])
        carried += taken
    return carried


def shaken(*, piece_bytes: int = 1 << 16) -> tuple[Engine, Engine]:
    """The opener of a connection and who answers it, after the handshake."""
    client = engine("alice", expecting="bob", server=False)
    server = engine("bob", expecting="alice", server=True)
    complete = {client: False, server: False}
    for _ in range(5):
        for own, other in ((client, server), (server, client)):
            complete[own] = complete[own] or own.shake()
            pump(own, other, piece_bytes=piece_bytes)
    assert all(complete.values())
    return client, server


def sealed(source: Engine, data: bytes) -> bytearray:
    source.seal(memoryview(data))
    wire = bytearray(ROOM)
    return wire[: source.take(memoryview(wire))]


def opened(target: Engine, wire: bytes | bytearray, size_bytes: int) -> bytes:
    """What comes out, into memory with room for one byte more than is asked for."""
    memory = bytearray(size_bytes + 1)
    if wire:
        target.put(memoryview(wire))
    return bytes(memory[: target.open(memoryview(memory))])


def pattern(size_bytes: int) -> bytes:
    """Bytes that tell where they stand, to a length of 251."""
    return (bytes(range(251)) * (size_bytes // 251 + 1))[:size_bytes]


# What goes in comes out.


@pytest.mark.parametrize("size_bytes", SIZES)
def test_data_of_any_size_come_out_as_they_went_in_on_both_sides(size_bytes: int) -> None:
    client, server = shaken()
    for source, target, data in ((client, server, pattern(size_bytes)), (server, client, pattern(size_bytes)[::-1])):
        assert opened(target, sealed(source, data), size_bytes) == data


@given(
    sizes=st.lists(st.integers(1, 40_000), min_size=1, max_size=5),
    wire_bytes=st.integers(1, 50_000),
    target_bytes=st.integers(1, 50_000),
)
@settings(deadline=None, max_examples=60)
def test_pieces_of_any_size_make_no_difference(sizes: list[int], wire_bytes: int, target_bytes: int) -> None:
    # At least so many pieces that a run stays short.
    wire_bytes, target_bytes = max(wire_bytes, sum(sizes) // 500), max(target_bytes, sum(sizes) // 500)
    client, server = shaken()
    data = pattern(sum(sizes))
    at = 0
    wire = bytearray()
    for size in sizes:
        wire += sealed(client, data[at : at + size])
        at += size
    received = bytearray()
    memory = bytearray(target_bytes)
    for start in range(0, len(wire), wire_bytes):
        server.put(memoryview(wire)[start : start + wire_bytes])
        while done := server.open(memoryview(memory)):
            received += memory[:done]
    assert received == data


@pytest.mark.parametrize("piece_bytes", [1, 7, 1000])
def test_a_handshake_may_come_in_pieces(piece_bytes: int) -> None:
    client, server = shaken(piece_bytes=piece_bytes)
    assert opened(server, sealed(client, b"hello"), 5) == b"hello"


def test_opening_stops_where_the_memory_is_full_and_the_rest_stays() -> None:
    client, server = shaken()
    wire = sealed(client, b"one two")
    server.put(memoryview(wire))
    memory = bytearray(b".......")
    assert server.open(memoryview(memory)[:3]) == 3
    assert memory == b"one...."
    assert server.open(memoryview(memory)[3:]) == 4
    assert memory == b"one two"
    assert server.open(memoryview(memory)) == 0


def test_nothing_comes_out_before_a_record_is_complete() -> None:
    client, server = shaken()
    wire = sealed(client, pattern(1000))
    assert opened(server, wire[:-1], 1000) == b""
    assert opened(server, wire[-1:], 1000) == pattern(1000)


@pytest.mark.parametrize("size_bytes", SIZES)
def test_sealing_adds_no_more_than_is_said(size_bytes: int) -> None:
    client, _ = shaken()
    wire = sealed(client, pattern(size_bytes))
    assert len(wire) <= size_bytes + -(-size_bytes // RECORD_BYTES) * RECORD_OVERHEAD_BYTES


def test_what_is_on_the_wire_does_not_show_the_data() -> None:
    client, _ = shaken()
    data = b"the weights of a model " * 100
    first, second = sealed(client, data), sealed(client, data)
    assert b"weights" not in first
    assert first != second


# Who is let in.


def test_a_client_with_another_certificate_than_announced_is_refused() -> None:
    """The client has finished before the server has looked at its certificate, and hears of it when it reads."""
    client = engine("mallory", expecting="bob", server=False)
    server = engine("bob", expecting="alice", server=True)
    assert not client.shake()
    pump(client, server)
    assert not server.shake()
    pump(server, client)
    assert client.shake()
    assert pump(client, server)
    with pytest.raises(StreamClosedError, match="not who it should be"):
        server.shake()
    assert pump(server, client), "an alert goes out"
    with pytest.raises(StreamClosedError):
        client.open(memoryview(bytearray(1)))
    with pytest.raises(StreamClosedError):
        server.open(memoryview(bytearray(1)))


def test_a_server_with_another_certificate_than_announced_is_refused() -> None:
    client = engine("alice", expecting="bob", server=False)
    server = engine("mallory", expecting="alice", server=True)
    assert not client.shake()
    pump(client, server)
    assert not server.shake()
    pump(server, client)
    with pytest.raises(StreamClosedError, match="not who it should be"):
        client.shake()
    assert pump(client, server), "an alert goes out"
    with pytest.raises(StreamClosedError, match="not who it should be"):
        server.shake()


def test_the_name_in_a_certificate_counts_for_nothing() -> None:
    names = {x509.load_der_x509_certificate(credentials(name).certificate).subject for name in ("alice", "mallory")}
    assert len(names) == 1
    assert credentials("alice").certificate != credentials("mallory").certificate


@pytest.mark.parametrize("expected", [b"", b"\x00\xff", b"not a certificate"])
def test_an_announcement_that_is_no_certificate_lets_nobody_in(expected: bytes) -> None:
    client = Engine(credentials("alice"), expected=expected, server=False)
    server = engine("bob", expecting="alice", server=True)
    client.shake()
    pump(client, server)
    server.shake()
    pump(server, client)
    with pytest.raises(StreamClosedError):
        client.shake()


@pytest.mark.parametrize("server", [True, False])
@pytest.mark.parametrize("words", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 5, bytes(1000), b"\x16\x03\x01" * 6000])
def test_who_does_not_speak_tls_is_refused(words: bytes, server: bool) -> None:
    own = engine("alice", expecting="bob", server=server)
    own.shake()
    own.put(memoryview(words))
    with pytest.raises(StreamClosedError):
        own.shake()


def test_nothing_can_be_sealed_before_the_handshake() -> None:
    client = engine("alice", expecting="bob", server=False)
    with pytest.raises(StreamClosedError):
        client.seal(memoryview(b"x"))


# Bytes that are not what was sealed.


@given(place=st.integers(0, 999), flip=st.integers(1, 255))
@settings(deadline=None, max_examples=100)
def test_a_changed_byte_never_comes_out(place: int, flip: int) -> None:
    client, server = shaken()
    wire = sealed(client, pattern(2000))
    wire[place] ^= flip
    server.put(memoryview(wire))
    memory = memoryview(bytearray(2000))
    # A longer record is announced, and waited for, where the length was changed.
    changed_length = place in (3, 4)
    if changed_length:
        server.put(memoryview(bytes(1 << 16)))
    with pytest.raises(StreamClosedError):
        server.open(memory)
    assert not any(memory)
    with pytest.raises(StreamClosedError):
        server.open(memory)


def test_what_came_before_the_changed_bytes_is_still_given() -> None:
    client, server = shaken()
    first, second = sealed(client, b"one"), sealed(client, b"two")
    second[-1] ^= 1
    assert opened(server, first + second, 6) == b"one"
    with pytest.raises(StreamClosedError):
        opened(server, b"", 6)


@pytest.mark.parametrize("order", [(0, 0), (1, 0), (1,)])
def test_records_that_are_repeated_or_left_out_or_in_another_order_are_refused(order: tuple[int, ...]) -> None:
    client, server = shaken()
    records = [sealed(client, bytes([number])) for number in range(2)]
    for number in order[:-1]:
        with contextlib.suppress(StreamClosedError):
            opened(server, records[number], 1)
    with pytest.raises(StreamClosedError):
        opened(server, records[order[-1]], 1)


@pytest.mark.parametrize("operation", ["open", "seal"])
def test_an_error_that_ends_in_a_cycle_of_garbage_does_no_harm(operation: str) -> None:
    """As in a task whose error knows the task. Python before 3.12.7 crashes where the memory is still lent."""
    for _ in range(3):
        _, server = shaken()
        server.put(memoryview(b"\x17\x03\x03\x00\x20" + b"garbage " * 4))
        target = memoryview(bytearray(100))
        cycle: list[object] = []
        source = server if operation == "open" else engine("alice", expecting="bob", server=False)
        try:
            (source.open if operation == "open" else source.seal)(target)
        except StreamClosedError as error:
            cycle += [error, cycle]
        assert cycle
        del target, cycle
        gc.collect()


def test_giving_memory_back_loses_nothing() -> None:
    client, server = shaken()
    wire = sealed(client, pattern(100_000))
    server.put(memoryview(wire)[:50_000])
    client.seal(memoryview(b"last"))
    for own in (client, server):
        own.release_memory()
        own.release_memory()
    server.put(memoryview(wire)[50_000:])
    pump(client, server)
    memory = bytearray(200_000)
    assert memory[: server.open(memoryview(memory))] == pattern(100_000) + b"last"
    assert opened(client, sealed(server, b"back"), 4) == b"back"


# Certificates.


def test_a_certificate_is_short_and_each_is_new() -> None:
    made = {Credentials.create().certificate for _ in range(5)}
    assert len(made) == 5
    assert all(0 < len(certificate) <= MAX_CERTIFICATE_BYTES for certificate in made)


def test_no_key_is_written_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*arguments: object, **options: object) -> None:
        raise AssertionError(f"a file is opened: {arguments}")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("builtins.open", forbidden)
    monkeypatch.setattr("os.open", forbidden)
    made = Credentials.create()
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())
    assert b"PRIVATE" not in made.certificate


# What is used of pyOpenSSL that it does not promise.


def test_the_private_names_of_pyopenssl_are_there() -> None:
    """Where this fails with a new pyOpenSSL, `net/direct/tls.py` has to be looked through before its bound is
    raised."""
    source = Path(tls.__file__).read_text(encoding="utf-8")
    of_library = set(re.findall(r"_library\.(\w+)", source))
    assert len(of_library) > 5
    assert {name for name in of_library if not hasattr(SSL._lib, name)} == set()  # type: ignore[attr-defined]
    connection = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
    of_connection = set(re.findall(r"_connection\.(_\w+)", source))
    assert of_connection == {"_ssl", "_into_ssl", "_from_ssl"}
    assert {name for name in of_connection if not hasattr(connection, name)} == set()
