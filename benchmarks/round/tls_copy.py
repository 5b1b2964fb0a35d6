"""A peer of `round` that only copies: the bytes of a butterfly all-reduce over TLS 1.3, and no arithmetic.

The floor for everything that is encrypted. Each peer sends 2(k-1)/k of its vector in all, spread evenly over a
connection to each other peer, and receives as much at the same time, by one thread in one event loop.

Owns the connections. The certificates are made for the run and not checked.
"""

from __future__ import annotations

import contextlib
import datetime
import selectors
import socket
import ssl
import tempfile
import time
from collections.abc import Sequence

import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.round.contender import MEET_TIMEOUT_S, Contender, Job, Timing, address_of, connected_to, wait_until

PIECE_BYTES = 64 << 10
READ_BYTES = 256 << 10
STALL_S = 20.0


class Link:
    """The connection to one other peer: what is still to be sent and to be received."""

    def __init__(self, connection: socket.socket, rank: int, *, incoming: memoryview, outgoing: memoryview) -> None:
        self.socket = connection
        self.rank = rank
        self._whole_incoming, self._whole_outgoing = incoming, outgoing
        self._arrived, self._leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._incoming = self._outgoing = self._encrypted = memoryview(b"")
        self._tls: ssl.SSLObject

    def handshake(self, *, server: bool) -> None:
        """Agrees on keys with the other side, while the socket still blocks."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if server:
            context.num_tickets = 0
            load_new_certificate(context)
        else:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        self._tls = context.wrap_bio(self._arrived, self._leaving, server_side=server)
        finished = False
        while not finished:
            with contextlib.suppress(ssl.SSLWantReadError):
                self._tls.do_handshake()
                finished = True
            self.socket.sendall(self._leaving.read())
            if not finished:
                self._take(self.socket.recv(READ_BYTES))
        self.socket.setblocking(False)

    def begin(self) -> None:
        """From now on sends and receives everything once more."""
        self._incoming, self._outgoing = self._whole_incoming, self._whole_outgoing

    @property
    def wants(self) -> int:
        """The events of `selectors` to wait for; 0 when done."""
        reading = selectors.EVENT_READ if self._incoming else 0
        return reading | (selectors.EVENT_WRITE if self._outgoing or self._encrypted else 0)

    def receive(self) -> None:
        """Takes what has arrived, after one read."""
        self._take(self.socket.recv(READ_BYTES))
        with contextlib.suppress(ssl.SSLWantReadError):
            while self._incoming:
                count: int = self._tls.read(len(self._incoming), self._incoming)  # type: ignore[assignment]
                self._incoming = self._incoming[count:]

    def send(self) -> None:
        """Sends one piece, or the rest of the last one."""
        if not self._encrypted:
            self._outgoing = self._outgoing[self._tls.write(self._outgoing[:PIECE_BYTES]) :]
            self._encrypted = memoryview(self._leaving.read())
        with contextlib.suppress(BlockingIOError):
            self._encrypted = self._encrypted[self.socket.send(self._encrypted) :]

    def _take(self, raw: bytes) -> None:
        if not raw:
            raise ConnectionError(f"the peer of rank {self.rank} has gone")
        self._arrived.write(raw)


class TlsCopy(Contender):
    """Sends the first 2/k of its vector to each other peer."""

    tolerance = 0.0

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._own = np.zeros(2 * job.elements // job.peers, np.float32)
        self._received = {rank: np.zeros(len(self._own), np.float32) for rank in range(job.peers) if rank != job.rank}
        self._links: list[Link] = []
        self._listener = socket.create_server((job.host, 0))
        self._listener.settimeout(MEET_TIMEOUT_S)

    def open(self) -> str:
        return address_of(self._listener)

    def meet(self, addresses: Sequence[str]) -> None:
        for rank in range(self.job.rank):
            connection = connected_to(addresses[rank])
            connection.sendall(bytes([self.job.rank]))
            self._add_link(connection, rank, server=False)
        for _ in range(self.job.rank + 1, self.job.peers):
            connection, _ = self._listener.accept()
            connection.settimeout(MEET_TIMEOUT_S)
            self._add_link(connection, connection.recv(1)[0], server=True)

    def prepare(self) -> None:
        self.contributions.write(self.job.rank, self._own)

    def run(self, begin_s: float) -> Timing:
        wait_until(begin_s)
        started_s = time.monotonic()
        with selectors.DefaultSelector() as selector:
            for link in self._links:
                link.begin()
                selector.register(link.socket, link.wants, link)
            while selector.get_map():
                ready = selector.select(STALL_S)
                if not ready:
                    raise TimeoutError(f"nothing has moved for {STALL_S:g} s")
                for key, events in ready:
                    serve(selector, key, events)
        seconds = time.monotonic() - started_s
        return Timing(0.0, seconds, seconds)

    def error(self) -> float:
        return max(self.contributions.error_of_copy(rank, copy) for rank, copy in self._received.items())

    def close(self) -> None:
        self._listener.close()
        for link in self._links:
            link.socket.close()

    def _add_link(self, connection: socket.socket, rank: int, *, server: bool) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        incoming, outgoing = self._received[rank].data.cast("B"), self._own.data.cast("B")
        link = Link(connection, rank, incoming=incoming, outgoing=outgoing)
        self._links.append(link)
        link.handshake(server=server)


def serve(selector: selectors.BaseSelector, key: selectors.SelectorKey, events: int) -> None:
    """Does for a link what it is ready for."""
    link: Link = key.data
    if events & selectors.EVENT_READ:
        link.receive()
    if events & selectors.EVENT_WRITE:
        link.send()
    if not link.wants:
        selector.unregister(link.socket)
    elif link.wants != key.events:
        selector.modify(link.socket, link.wants, link)


def load_new_certificate(context: ssl.SSLContext) -> None:
    """Gives a server a key of its own and a certificate for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "round")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    pem = serialization.Encoding.PEM
    with tempfile.NamedTemporaryFile() as file:
        file.write(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        file.write(builder.sign(key, hashes.SHA256()).public_bytes(pem))
        file.flush()
        context.load_cert_chain(file.name)
