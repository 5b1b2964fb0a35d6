"""libp2p as somebody speaks it who keeps to nothing: TCP, Noise, yamux, and streams that lead nowhere.

Owns one connection to a peer under an identity that costs nothing, so that a thousand of them fit into one process. It
does not check who the other side is. The forms: https://github.com/libp2p/specs, the pages on connections, Noise and
yamux; http://noiseprotocol.org/noise.html, sections 5 and 9.3.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import struct

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from gossiptrain.net.identity import Identity
from gossiptrain.net.transport import PeerId

MULTISTREAM = "/multistream/1.0.0"
_KEY_BYTES = 32
_TAG_BYTES = 16
_FRAME = struct.Struct(">BBHII")
_DATA, _WINDOW, _PING = 0, 1, 2
_SYN, _ACK, _FIN, _RESET = 1, 2, 4, 8
_PIECE_BYTES = 60_000


def line(text: str) -> bytes:
    """A word of multistream: its length, the text and a line break."""
    word = text.encode() + b"\n"
    assert len(word) < 128
    return bytes([len(word)]) + word


class _Sealing:
    """One direction, once the keys are there."""

    def __init__(self, key: bytes) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self._count = 0

    def _nonce(self) -> bytes:
        self._count += 1
        return struct.pack("<4xQ", self._count - 1)

    def seal(self, data: bytes, context: bytes = b"") -> bytes:
        return self._cipher.encrypt(self._nonce(), data, context)

    def open(self, data: bytes, context: bytes = b"") -> bytes:
        return self._cipher.decrypt(self._nonce(), data, context)


class _Handshake:
    """Noise XX as its initiator."""

    def __init__(self) -> None:
        self._hash = self._chain = b"Noise_XX_25519_ChaChaPoly_SHA256"
        self._sealing: _Sealing | None = None
        self._mix(b"")

    def _mix(self, data: bytes) -> None:
        self._hash = hashlib.sha256(self._hash + data).digest()

    def _two_keys(self, secret: bytes) -> tuple[bytes, bytes]:
        derived = hmac.digest(self._chain, secret, "sha256")
        first = hmac.digest(derived, b"\x01", "sha256")
        return first, hmac.digest(derived, first + b"\x02", "sha256")

    def _mix_key(self, secret: bytes) -> None:
        self._chain, key = self._two_keys(secret)
        self._sealing = _Sealing(key)

    def _seal(self, data: bytes) -> bytes:
        assert self._sealing is not None
        sealed = self._sealing.seal(data, self._hash)
        self._mix(sealed)
        return sealed

    def _open(self, data: bytes) -> bytes:
        assert self._sealing is not None
        opened = self._sealing.open(data, self._hash)
        self._mix(data)
        return opened

    async def run(self, connection: HostileConnection, identity: Ed25519PrivateKey) -> tuple[_Sealing, _Sealing]:
        ephemeral, static = X25519PrivateKey.generate(), X25519PrivateKey.generate()
        first = ephemeral.public_key().public_bytes_raw()
        self._mix(first)
        self._mix(b"")
        await connection.send_message(first)
        answer = await connection.receive_message()
        theirs, sealed, rest = answer[:_KEY_BYTES], answer[_KEY_BYTES:][: _KEY_BYTES + _TAG_BYTES], answer[80:]
        self._mix(theirs)
        their_ephemeral = X25519PublicKey.from_public_bytes(theirs)
        self._mix_key(ephemeral.exchange(their_ephemeral))
        their_static = X25519PublicKey.from_public_bytes(self._open(sealed))
        self._mix_key(ephemeral.exchange(their_static))
        self._open(rest)
        own = static.public_key().public_bytes_raw()
        last = self._seal(own)
        self._mix_key(static.exchange(their_ephemeral))
        signature = identity.sign(b"noise-libp2p-static-key:" + own)
        public = b"\x08\x01\x12\x20" + identity.public_key().public_bytes_raw()
        last += self._seal(b"\x0a" + bytes([len(public)]) + public + b"\x12" + bytes([len(signature)]) + signature)
        await connection.send_message(last)
        sending, receiving = self._two_keys(b"")
        return _Sealing(sending), _Sealing(receiving)


class HostileConnection:
    """One connection under an identity of its own. Made by `open`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._sealings: tuple[_Sealing, _Sealing] | None = None
        self._unread = b""
        self._next_id = 1
        self.peer = PeerId("")
        """Its identity, as the other side knows it."""
        self.open_streams: set[int] = set()
        self.refused = 0
        """Streams that the other side has reset."""
        self.answers: dict[int, bytearray] = {}
        self.heard = asyncio.Event()
        """Set with each word of the other side."""

    @classmethod
    async def open(cls, host: str, port: int) -> HostileConnection:
        """Dials, and goes as far as streams can be opened. Raises OSError, EOFError, ValueError."""
        connection = cls(*await asyncio.open_connection(host, port))
        try:
            connection._writer.write(line(MULTISTREAM) + line("/noise"))
            await connection._expect("/noise")
            key = Ed25519PrivateKey.generate()
            connection.peer = Identity(key).peer_id
            connection._sealings = await _Handshake().run(connection, key)
            await connection._send(line(MULTISTREAM) + line("/yamux/1.0.0"))
            await connection._expect("/yamux/1.0.0")
        except BaseException:
            connection.close()
            raise
        return connection

    async def _expect(self, protocol: str) -> None:
        for wanted in (MULTISTREAM, protocol):
            said = await self._read((await self._read(1))[0])
            if said != wanted.encode() + b"\n":
                raise ValueError(f"{said!r} instead of {wanted}")

    async def send_message(self, data: bytes) -> None:
        """A message of Noise, behind its length."""
        self._writer.write(len(data).to_bytes(2, "big") + data)
        await self._writer.drain()

    async def receive_message(self) -> bytes:
        """The next message of Noise. Raises EOFError where there is none."""
        return await self._reader.readexactly(int.from_bytes(await self._reader.readexactly(2), "big"))

    async def _send(self, data: bytes) -> None:
        assert self._sealings is not None
        for start in range(0, len(data), _PIECE_BYTES):
            await self.send_message(self._sealings[0].seal(data[start : start + _PIECE_BYTES]))

    async def _read(self, size: int) -> bytes:
        if self._sealings is None:
            return await self._reader.readexactly(size)
        while len(self._unread) < size:
            self._unread += self._sealings[1].open(await self.receive_message())
        data, self._unread = self._unread[:size], self._unread[size:]
        return data

    async def begin(self, first_words: bytes) -> int:
        """Opens a stream and says something on it; the number of the stream."""
        number, self._next_id = self._next_id, self._next_id + 2
        self.open_streams.add(number)
        opening = _FRAME.pack(0, _WINDOW, _SYN, number, 0)
        await self._send(opening + _FRAME.pack(0, _DATA, 0, number, len(first_words)) + first_words)
        return number

    async def say(self, number: int, data: bytes) -> None:
        """Says something more on a stream."""
        await self._send(_FRAME.pack(0, _DATA, 0, number, len(data)) + data)

    async def listen(self, *, keep: bool = False) -> None:
        """Reads until the connection ends, and answers whether it lives. keep: what is said on streams is kept."""
        with contextlib.suppress(OSError, EOFError):
            while True:
                _, kind, flags, number, length = _FRAME.unpack(await self._read(_FRAME.size))
                if kind == _DATA:
                    said = await self._read(length)
                    if keep:
                        self.answers.setdefault(number, bytearray()).extend(said)
                elif kind == _PING and flags & _SYN:
                    await self._send(_FRAME.pack(0, _PING, _ACK, 0, length))
                if flags & (_RESET | _FIN) and number in self.open_streams:
                    self.open_streams.discard(number)
                    self.refused += bool(flags & _RESET)
                self.heard.set()
        self.open_streams.clear()

    def close(self) -> None:
        """Ends the connection at once."""
        self._writer.transport.abort()
