"""What a peer keeps of the private swarm to which it was invited, in a file of its own between runs.

Owns that file: the link, the credential that the swarm's founder has given in its place, and the newest list of
revocations. It is secret, and counts as hostile until it is checked.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from gossiptrain.errors import UsageError
from gossiptrain.net.small_files import read_bounded, replace_whole
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.access.link import LIMIT_CHARS, InviteLink
from gossiptrain.swarm.access.private import Holding
from gossiptrain.swarm.access.revocations import Revocations
from gossiptrain.swarm.access.tokens import Credential

_logger = logging.getLogger(__package__)
LIMIT_BYTES = 32 << 10

_Hex = Annotated[str, StringConstraints(max_length=1 << 14, pattern=r"^([0-9a-f]{2})*$")]


class KeptMembership(BaseModel):
    """What stands in the file."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    format: Literal["gossiptrain membership"] = "gossiptrain membership"
    version: Literal[1] = 1
    link: Annotated[str, StringConstraints(max_length=LIMIT_CHARS)] = Field(repr=False)
    credential: _Hex = Field(default="", repr=False)
    revocations: _Hex = ""

    @classmethod
    def read(cls, path: Path) -> KeptMembership | None:
        """None where there is no such file. Raises UsageError."""
        try:
            content = read_bounded(path, limit_bytes=LIMIT_BYTES)
            return None if content is None else cls.model_validate_json(content)
        except (OSError, ValueError) as error:
            reason = "it is not as it should be" if isinstance(error, ValidationError) else str(error)
            raise UsageError(
                f"The membership in {path} cannot be used: {reason}.", remedy="Ask for another link, and use --join."
            ) from None

    def write(self, path: Path) -> None:
        """Raises OSError."""
        replace_whole(path, self.model_dump_json(indent=1).encode())

    def holding(self, me: PeerId) -> Holding:
        """What makes this peer a member. Raises UsageError."""
        link = InviteLink.parse(self.link)
        swarm = link.invite.swarm
        credential, revocations = link.credential(me), None
        try:
            if self.credential:
                given = Credential.decode(bytes.fromhex(self.credential))
                # Another identity than then comes with the link again.
                credential = given if given.is_of(me, swarm) else credential
            if self.revocations:
                heard = Revocations.decode(bytes.fromhex(self.revocations))
                revocations = heard if heard.is_of(swarm) else None
        except ValueError as error:
            _logger.warning("a part of the kept membership is passed over: %s", error)
        return Holding(swarm, link.secret, credential, revocations=revocations)
