"""TLS 1.3 between two peers that have exchanged their certificates beforehand.

Owns this peer's certificate, made anew at every start and never written to a disk, and the engine that turns bytes
into sealed records and back in memory. Either side must present exactly the certificate that the other one expects;
nothing else is trusted. Does not know sockets, nor how the certificates came to the other side.

The engine is OpenSSL as `cryptography` brings it, through pyOpenSSL. Bytes go through the functions that pyOpenSSL is
itself made of, without its copies: Python's own `ssl`, with the OpenSSL of the system, took 1.6 times as long for the
same bytes (see docs/performance.md).
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto

from gossiptrain.net.transport import StreamClosedError

MAX_CERTIFICATE_BYTES = 2048
RECORD_OVERHEAD_BYTES = 64
"""More than TLS adds to a record of up to 16 KiB."""
RECORD_BYTES = 16 << 10
# Always valid: the clocks of peers differ, and a certificate lives no longer than its process.
_NOT_BEFORE = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
_NOT_AFTER = datetime.datetime(9999, 1, 1, tzinfo=datetime.UTC)
_library: Any = SSL._lib  # type: ignore[attr-defined]  # see the module's first lines
_ffi: Any = SSL._ffi  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Credentials:
    """A certificate in DER with its key, and the two roles in which they are used."""

    certificate: bytes
    context: SSL.Context

    @classmethod
    def create(cls) -> Credentials:
        """Makes a new key and certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gossiptrain")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_NOT_BEFORE)
            .not_valid_after(_NOT_AFTER)
            .sign(key, hashes.SHA256())
        )
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.use_certificate(certificate)
        context.use_privatekey(key)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _is_expected)
        return cls(certificate.public_bytes(serialization.Encoding.DER), context)


class Engine:
    """One side of one connection, in memory."""

    def __init__(self, credentials: Credentials, *, expected: bytes, server: bool) -> None:
        """expected: the other side's certificate in DER."""
        self._connection = SSL.Connection(credentials.context, None)
        self._connection.set_app_data(expected)
        self._expected = expected
        if server:
            self._connection.set_accept_state()
        else:
            self._connection.set_connect_state()
        self._ssl = self._connection._ssl
        self._to_open = self._connection._into_ssl
        self._sealed = self._connection._from_ssl

    def shake(self) -> bool:
        """Goes as far in the handshake as the bytes that were put in allow; says whether it is complete.

        Raises StreamClosedError where the other side is not who it should be. What `take` then gives must be sent
        whatever happened, alerts included.
        """
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return False
        except SSL.Error as error:
            raise StreamClosedError(
                f"the other end of the direct connection is not who it should be: {_reason(error)}"
            ) from error
        shown = self._connection.get_peer_certificate(as_cryptography=True)
        if shown is None or shown.public_bytes(serialization.Encoding.DER) != self._expected:
            raise StreamClosedError(
                "the other end of the direct connection has shown another certificate than it announced"
            )
        return True

    def put(self, received: memoryview) -> None:
        """Takes in bytes from the other side."""
        _library.BIO_write(self._to_open, _ffi.from_buffer(received), len(received))

    def take(self, target: memoryview) -> int:
        """Writes sealed bytes for the other side into `target`; says how many."""
        return max(
            0, int(_library.BIO_read(self._sealed, _ffi.from_buffer(target, require_writable=True), len(target)))
        )

    def seal(self, data: memoryview) -> None:
        """Seals all of `data`. Raises StreamClosedError where the connection is of no more use."""
        with _ffi.from_buffer(data) as source:
            done = 0
            while done < len(data):
                sealed = _library.SSL_write(self._ssl, source + done, len(data) - done)
                if sealed <= 0:
                    _library.ERR_clear_error()
                    raise StreamClosedError("the connection is broken")
                done += sealed

    def open(self, target: memoryview) -> int:
        """Writes opened bytes into `target` until it is full or there are no more; says how many.

        Raises StreamClosedError where the other side has ended, or where the bytes are not what was sealed.
        """
        # Released whatever happens: Python before 3.12.7 crashes where it finds a memoryview that is still lent to
        # somebody in a cycle of garbage, and the traceback of an error is often part of one.
        with _ffi.from_buffer(target, require_writable=True) as place:
            done = 0
            while done < len(target):
                opened = _library.SSL_read(self._ssl, place + done, len(target) - done)
                if opened > 0:
                    done += opened
                    continue
                reason = _library.SSL_get_error(self._ssl, opened)
                _library.ERR_clear_error()
                if reason == _library.SSL_ERROR_WANT_READ or done:
                    break  # what is wrong, if anything is, shows again at the next call
                raise StreamClosedError("the other side, or the network between, has ended the stream")
            return done

    def release_memory(self) -> None:
        """Gives back the memory that many bytes at once have taken; nothing is lost. It comes back when it is needed.

        OpenSSL's memory never shrinks: 0.4 MB for each connection that has carried bulk.
        """
        self._to_open, self._sealed = _moved(self._to_open), _moved(self._sealed)
        _library.SSL_set_bio(self._ssl, self._to_open, self._sealed)


def _moved(old: Any) -> Any:
    """Fresh memory with what is left in the old one."""
    fresh = _library.BIO_new(_library.BIO_s_mem())
    piece = _ffi.new("char[]", RECORD_BYTES)
    while (moved := _library.BIO_read(old, piece, RECORD_BYTES)) > 0:
        _library.BIO_write(fresh, piece, moved)
    return fresh


def _is_expected(connection: SSL.Connection, shown: crypto.X509, error: int, depth: int, accepted: int) -> bool:
    """Instead of any chain of trust: the certificate is the one that was announced, whatever OpenSSL thinks of it."""
    der = shown.to_cryptography().public_bytes(serialization.Encoding.DER)
    return depth == 0 and der == connection.get_app_data()


def _reason(error: SSL.Error) -> str:
    details = error.args[0] if error.args else ()
    return str(details[-1][-1]) if details else "it ended the handshake"
