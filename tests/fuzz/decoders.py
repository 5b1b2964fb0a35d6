"""The list of all decoders of bytes that others write: what the fuzzer is about.

Owns that none is forgotten: which files of the package decode at all is looked for in their text, and each of them has
a decoder here, or a reason why not.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import gossiptrain
from tests.fuzz import in_files, of_access, of_the_swarm, on_the_network
from tests.fuzz.decoder import Decoder

PACKAGE = Path(gossiptrain.__file__).parent
DECODES = re.compile(
    r"\bjson\.loads\(|\btomllib\.|\.model_validate_json\(|\bunpackb\(|\.unpack\(|\.ParseFromString\(|\.from_bytes\("
    r"|\bfromhex\(|b64decode\(|\bload_file\(|\bsafe_open\(|\bfrombuffer\(|\bpickle\b|\btorch\.load\("
)
"""How a file that takes bytes apart gives itself away."""
NOT_HOSTILE = {
    "cli/invite.py": "the file of an own swarm, which `own_swarms` has checked",
    "cli/revoke.py": "the file of an own swarm, which `own_swarms` has checked",
    "core/compiler.py": "only names an error of numba's cache",
    "core/fragments.py": "a digest that was made a line before",
    "doctor/accelerator.py": "the answer of a child process of its own",
    "doctor/road.py": "tables of the kernel",
    "net/congestion.py": "tables of the kernel",
    "net/direct/negotiation.py": "hexadecimal digits, which `messages` has checked",
    "net/direct/stream.py": "a length of 8 bytes, any of which is one",
    "node/control_socket.py": "trainer and node are one program of one user",
    "node/memory.py": "memory that trainer and node share, any bytes of which are values",
    "simulate/meeting.py": "what virtual peers of one process have coded",
    "simulate/swarms/extremes.py": "makes messages itself",
    "swarm/exchange.py": "a digest that was made a line before",
    "training/tasks/cifar_files.py": "compared with its published checksum before",
    "training/tasks/text_file.py": "text, any bytes of which are one",
    "training/tasks/sampling.py": "a digest that was made a line before",
}
"""Files that take bytes apart which nobody else has written, and whose."""


@cache
def all_decoders() -> dict[str, Decoder]:
    """By name."""
    found = [*on_the_network.decoders(), *of_the_swarm.decoders(), *of_access.decoders(), *in_files.decoders()]
    return {decoder.name: decoder for decoder in found}


def files_that_decode() -> set[str]:
    """All of the package that take bytes apart."""
    return {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if DECODES.search(path.read_text(encoding="utf-8"))
    }
