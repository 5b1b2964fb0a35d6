"""One decoder in a process of its own: feeds it with inputs, and says what has come of them in one line of JSON.

Owns the loop, with atheris, which keeps the inputs that reach new lines of the package and changes them further, or
without, where the same seed gives the same inputs. A process of its own, since an input may end it, and since the most
memory that a process has had never shrinks.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from tests.fuzz.decoder import Decoder, Tally
    from tests.fuzz.mutation import Mutator

HUNG_S = 60
"""An input that takes longer ends the process, by atheris, which keeps it."""
NOT_INSTRUMENTED = ["gossiptrain.core.kernels", "gossiptrain.core.compiler"]
"""Compiled by numba, which reads their bytecode as it is."""


def main() -> NoReturn:
    """Ends the process by itself: atheris would not return."""
    parser = argparse.ArgumentParser()
    parser.add_argument("decoder")
    parser.add_argument("--inputs", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--findings", type=Path, required=True)
    parser.add_argument("--blind", action="store_true")
    asked = parser.parse_args()
    asked.findings.mkdir(parents=True, exist_ok=True)
    if asked.blind:
        _session(asked).run_blindly()
    else:
        atheris = importlib.import_module("atheris")
        with atheris.instrument_imports(include=["gossiptrain"], exclude=NOT_INSTRUMENTED):
            session = _session(asked)
        session.run_guided(atheris)
    raise AssertionError("it has ended by itself")


def _session(asked: argparse.Namespace) -> _Session:
    from tests.fuzz.decoder import Tally
    from tests.fuzz.decoders import all_decoders
    from tests.fuzz.mutation import Mutator

    decoder = all_decoders()[asked.decoder]
    mutator = Mutator(decoder.seeds, limit_bytes=decoder.limit_bytes, seed=asked.seed)
    for data in decoder.seeds:
        decoder.decode(data)
    return _Session(asked, decoder, Tally(), mutator)


class _Session:
    def __init__(self, asked: argparse.Namespace, decoder: Decoder, tally: Tally, mutator: Mutator) -> None:
        self._asked = asked
        self._decoder = decoder
        self._tally = tally
        self._mutator = mutator
        self._began_s = time.monotonic()
        self._until_s = self._began_s + asked.seconds

    def run_blindly(self) -> NoReturn:
        for data in self._mutator.inputs(self._asked.inputs):
            self._try(data)
        self._end()

    def run_guided(self, atheris: Any) -> NoReturn:
        with tempfile.TemporaryDirectory() as corpus:
            for number, data in enumerate(self._decoder.seeds):
                (Path(corpus) / str(number)).write_bytes(data)
            longest = self._decoder.limit_bytes + 16
            options = [
                *(f"-seed={self._asked.seed + 1}", f"-max_len={longest}", "-len_control=0", "-verbosity=0"),
                *(f"-timeout={HUNG_S}", "-rss_limit_mb=4096", f"-artifact_prefix={self._asked.findings}/", corpus),
            ]
            atheris.Setup([sys.argv[0], *options], self._try, custom_mutator=_mutator(atheris, self._mutator))
            atheris.Fuzz()
        raise AssertionError("atheris has returned")

    def _try(self, data: bytes) -> None:
        if not self._tally.inputs:
            from tests.fuzz.decoder import peak_bytes

            self._tally.base_bytes = peak_bytes()  # without what atheris keeps for itself
        self._tally.note(self._decoder, data)
        if self._tally.inputs >= self._asked.inputs or time.monotonic() > self._until_s:
            self._end()

    def _end(self) -> NoReturn:
        from tests.fuzz.decoder import keep

        tally = self._tally
        said = {
            "inputs": tally.inputs,
            "seconds": time.monotonic() - self._began_s,
            "slowest_s": tally.slowest_s,
            "growth_bytes": tally.growth_bytes,
            "slowest": str(keep(self._asked.findings / "slowest", self._decoder, tally.slowest)),
            "failures": {
                what: str(keep(self._asked.findings, self._decoder, data)) for what, data in tally.failures.items()
            },
        }
        print(json.dumps(said), flush=True)
        os._exit(0)


def _mutator(atheris: Any, own: Mutator) -> Callable[[bytes, int, int], bytes]:
    """atheris's own changes, which it knows to work, and those of ours, which know numbers and nesting."""

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        if seed % 2:
            changed: bytes = atheris.Mutate(data, max_size)
            return changed
        return own.changed(data)[:max_size]

    return change


if __name__ == "__main__":
    main()
