"""TLS 1.3 between two peers that have exchanged their certificates beforehand.

Owns this peer's certificate, made anew at every start, and the settings of both roles: either side must present
exactly the certificate that the other one expects, and nothing else is trusted. Does not know sockets, nor how the
certificates came to the other side.
"""

from __future__ import annotations

import datetime
import os
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

MAX_CERTIFICATE_BYTES = 2048
# Always valid: the clocks of peers differ, and a certificate lives no longer than its process.
_NOT_BEFORE = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
_NOT_AFTER = datetime.datetime(9999, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True)
class Credentials:
    """A certificate in DER, and the file in which Python's ssl finds it with its key."""

    certificate: bytes
    file: Path

    @classmethod
    def create(cls, folder: Path) -> Credentials:
        """Makes a new key and certificate, and writes both to a file in `folder` which only this user can read."""
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
        pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = folder / "lane.pem"
        with open(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as opened:
            opened.write(pem)
        return cls(certificate.public_bytes(serialization.Encoding.DER), file)


class Handshake:
    """One side's TLS engine, which reads and writes memory and expects one certificate."""

    def __init__(self, credentials: Credentials, *, expected: bytes, server: bool) -> None:
        """expected: the other side's certificate in DER. Raises ssl.SSLError where it is none."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False  # the certificate itself is expected, not a name in it
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags = ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST | ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=expected)
        context.load_cert_chain(credentials.file)
        if server:
            context.num_tickets = 0  # no lane is resumed
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.engine = context.wrap_bio(self.incoming, self.outgoing, server_side=server)
        self._expected = expected

    def advance(self) -> bool:
        """Goes as far as the bytes in `incoming` allow; says whether it is complete. Raises ssl.SSLError.

        What stands in `outgoing` must be sent whatever happens, alerts included.
        """
        try:
            self.engine.do_handshake()
        except ssl.SSLWantReadError:
            return False
        if self.engine.getpeercert(binary_form=True) != self._expected:
            raise ssl.SSLError("the other side has shown another certificate than it announced")
        return True
