"""Decoders of what lets peers into a private swarm: links, invites, credentials, revocations, sealed entries.

Owns how each is called on any bytes, and valid inputs by the real encoders. Where something is sealed, or has a
checksum, what is inside is changed before, as by somebody who knows the secret: no input ends at the first check.
"""

from __future__ import annotations

import base64
from collections.abc import Callable

from gossiptrain.config import TimingSettings
from gossiptrain.errors import UsageError
from gossiptrain.net.identity import Identity
from gossiptrain.net.transport import PeerId
from gossiptrain.net.virtual.network import VirtualNetwork
from gossiptrain.swarm.access.link import _FRAGMENT_BYTES, InviteLink, _checksum
from gossiptrain.swarm.access.private import ANSWER_BYTES, KNOCK_BYTES, NotAdmitted, PrivateAccess, _context
from gossiptrain.swarm.access.revocations import LIMIT_BYTES as REVOCATIONS_LIMIT_BYTES
from gossiptrain.swarm.access.revocations import Revocations
from gossiptrain.swarm.access.tokens import CREDENTIAL_BYTES, INVITE_BYTES, Credential, Invite
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.rendezvous import Rendezvous
from tests.fuzz.decoder import Decoder
from tests.fuzz.of_the_swarm import RUN
from tests.fuzz.on_the_network import ADDRESSES
from tests.swarm.founders import Founder


def _exact(decode: Callable[[bytes], Invite | Credential | Revocations]) -> Callable[[bytes], None]:
    """Bytes are refused, or those that the result is encoded as."""

    def check(data: bytes) -> None:
        assert decode(data).encode() == data

    return check


def decoders() -> list[Decoder]:
    """All of this file."""
    founder = Founder()
    me, caller = Identity.generate().peer_id, Identity.generate().peer_id
    link = founder.link()
    credential = link.credential(caller)
    host, guest = founder.own(me), founder.invited(me, link)
    revoked = founder.revoking(b"a" * 32, b"b" * 32)
    payload = link.invite.encode() + link.seed + link.secret
    before = link.encode().partition("#")[0]

    def take_secret_part(data: bytes) -> None:
        text = base64.urlsafe_b64encode(data + _checksum(data)).rstrip(b"=").decode()
        InviteLink.parse(f"{before}#{text}")

    def take_shown(access: PrivateAccess, direction: bytes, length: int) -> Callable[[bytes], None]:
        def take(data: bytes) -> None:
            sealed = access.secret.seal(data, _context(direction, caller, me))
            if direction == b"knock":
                assert len(access.admit(caller, sealed)) == ANSWER_BYTES
            else:
                access.check_answer(caller, sealed)

        return take

    def take_list(data: bytes) -> None:
        before = host.revocations
        assert host.learn(data) == (host.revocations is not before)
        host.revocations = before

    tokens = ("swarm/access/tokens.py",)
    private = ("swarm/access/private.py", "swarm/access/secret.py")
    lists, links = ("swarm/access/revocations.py",), ("swarm/access/link.py",)
    lengths = {"knock": KNOCK_BYTES, "answer": ANSWER_BYTES}
    return [
        Decoder("invites", _exact(Invite.decode), [link.invite.encode()], tokens, (ValueError,), INVITE_BYTES),
        Decoder(
            "credentials", _exact(Credential.decode), [credential.encode()], tokens, (ValueError,), CREDENTIAL_BYTES
        ),
        Decoder(
            "revocations", _exact(Revocations.decode), [revoked.encode()], lists, (ValueError,), REVOCATIONS_LIMIT_BYTES
        ),
        Decoder("revocations-heard", take_list, [revoked.encode()], (*lists, *private), (), REVOCATIONS_LIMIT_BYTES),
        Decoder(
            "links",
            lambda data: InviteLink.parse(data.decode("utf-8", "replace")),
            [link.encode().encode()],
            links,
            (UsageError,),
            4096,
        ),
        Decoder("links-with-a-right-checksum", take_secret_part, [payload], links, (UsageError,), _FRAGMENT_BYTES),
        Decoder(
            "credentials-shown",
            take_shown(host, b"knock", lengths["knock"]),
            [credential.encode()],
            private,
            (NotAdmitted,),
            KNOCK_BYTES,
        ),
        Decoder(
            "credentials-answered",
            take_shown(guest, b"answer", lengths["answer"]),
            [credential.encode() + bytes(CREDENTIAL_BYTES)],
            private,
            (NotAdmitted,),
            ANSWER_BYTES,
        ),
        _sealed_entries(host),
    ]


def _sealed_entries(access: PrivateAccess) -> Decoder:
    transport = VirtualNetwork().transport("me")
    rendezvous = Rendezvous(Admission(transport, RUN, timing=TimingSettings(), access=access))
    name = rendezvous._name(PeerId(ADDRESSES[0].rpartition("/")[2]))

    def take(data: bytes) -> None:
        rendezvous._read(name, data)
        found = rendezvous._read(name, access.secret.seal(data, rendezvous._context(name)))
        assert found is None or found[0] == ADDRESSES[0].rpartition("/")[2]

    seeds = [b'["' + ADDRESSES[0].encode() + b'"]']
    return Decoder("sealed-entries", take, seeds, ("swarm/rendezvous.py", "swarm/access/secret.py"), limit_bytes=1024)
