"""`python -m tests.fuzz`: feeds decoders with bytes that nobody should write, one after another, and prints a table.

Owns the course and what is printed. Exits with 1 where an input raised what it must not, took too long, took too much
memory or ended the process; the input is kept, and the command is printed that repeats it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.decoder import LIMIT_GROWTH_BYTES, Tally
from tests.fuzz.decoders import all_decoders

FINDINGS = Path(".fuzz")
_MEMORY = Path("/dev/shm")
_HEAD = f"{'decoder':30} {'inputs':>9} {'per s':>7} {'slowest':>9} {'memory':>8}"


@dataclass
class Result:
    """What a session has said of its decoder. failures: by what happened, the file with the input."""

    inputs: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    growth_bytes: int = 0
    slowest: str = ""
    failures: dict[str, str] = field(default_factory=dict)


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    asked = _arguments().parse_args(arguments)
    if asked.list:
        print("\n".join(all_decoders()))
        return 0
    if unknown := set(asked.decoder or ()) - set(all_decoders()):
        sys.exit(f"There is no decoder {', '.join(sorted(unknown))}; --list names all.")
    if asked.repeat is not None:
        return repeat(asked.repeat, asked.decoder)
    if not asked.blind and importlib.util.find_spec("atheris") is None:
        print("atheris is not installed (pip install -e '.[fuzz]'): inputs are changed without looking what they reach")
        asked.blind = True
    names = asked.decoder or list(all_decoders())
    print(_HEAD)
    with ThreadPoolExecutor(asked.workers) as pool:
        results = {name: pool.submit(session, name, asked) for name in names}
        wrong = sum([report(name, results[name].result()) for name in names])
    if asked.json is not None:
        asked.json.write_text(json.dumps({name: vars(result.result()) for name, result in results.items()}, indent=1))
    return 1 if wrong else 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--decoder", action="append", help="of those that --list names; may be repeated (all)")
    parser.add_argument("--inputs", type=int, default=100_000, help="for each decoder (100,000)")
    parser.add_argument("--seconds", type=float, default=3600, help="at most for each decoder, whatever --inputs says")
    parser.add_argument("--seed", type=int, default=0, help="without atheris the same inputs each time")
    parser.add_argument("--workers", type=int, default=1, help="decoders at a time")
    parser.add_argument("--blind", action="store_true", help="without atheris, also where it is installed")
    parser.add_argument("--findings", type=Path, default=FINDINGS, help="where inputs are kept (.fuzz)")
    parser.add_argument("--json", type=Path, help="where the results are written as well")
    parser.add_argument("--repeat", type=Path, help="only this input, of the one --decoder")
    parser.add_argument("--list", action="store_true", help="only the names of all decoders")
    return parser


def repeat(path: Path, names: list[str] | None) -> int:
    """Decodes one file, with the traceback of what it raises."""
    if not names or len(names) != 1:
        sys.exit("--repeat takes the one decoder that --decoder names")
    decoder, tally = all_decoders()[names[0]], Tally()
    data = path.read_bytes()
    is_right = tally.note(decoder, data)
    print(f"{len(data)} bytes: {tally.slowest_s:.3f} s of a core; {', '.join(tally.failures) or 'nothing wrong'}")
    if not is_right:
        decoder.decode(data)
    return 0 if is_right else 1


def session(name: str, asked: argparse.Namespace) -> Result:
    """One decoder in a process of its own."""
    command = [sys.executable, "-m", "tests.fuzz.session", name, f"--inputs={asked.inputs}", f"--seed={asked.seed}"]
    command += [f"--seconds={asked.seconds}", f"--findings={asked.findings}", *(["--blind"] if asked.blind else [])]
    # More threads would only wait for each other, on tensors of some bytes.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    # Its files are in memory, where the computer has such a place, and gone with it however it ends.
    memory = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="gossiptrain-fuzz-", dir=memory) as place:
        environment["TMPDIR"] = place
        process = subprocess.run(command, capture_output=True, check=False, env=environment)
    if process.returncode == 0:
        return Result(**json.loads(process.stdout.splitlines()[-1]))
    asked.findings.mkdir(parents=True, exist_ok=True)
    log = asked.findings / f"{name}.log"
    log.write_bytes(process.stderr)
    ended = process.returncode
    how = signal.Signals(-ended).name if ended < 0 else f"exit code {ended}"
    return Result(failures={f"the process ended with {how}; last words and the name of the input": str(log)})


def report(name: str, result: Result) -> bool:
    """Prints one row, and below it what is wrong; says whether anything is."""
    rate, megabytes = result.inputs / (result.seconds or 1), result.growth_bytes / 2**20
    figures = f"{result.inputs:9,} {rate:7,.0f} {1000 * result.slowest_s:6.1f} ms {megabytes:5.1f} MB"
    print(f"{name:30} {figures}", flush=True)
    wrong = dict(result.failures)
    if result.growth_bytes > LIMIT_GROWTH_BYTES:
        wrong[f"took more than {LIMIT_GROWTH_BYTES >> 20} MB; the slowest input"] = result.slowest
    for what, path in wrong.items():
        print(f"    {what}\n    python -m tests.fuzz --decoder {name} --repeat {path}", flush=True)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
