"""What a smaller format on the wire costs: time, accuracy, and how far averages still converge.

    .venv/bin/python -m benchmarks.codecs
    .venv/bin/python -m benchmarks.codecs --elements 262144 --repetitions 50 --json codecs.json

Speed is that of one core in GB/s of float32, of one chunk again and again, so that all of it stays in the cache. One
repetition codes some chunks in a row. In int8 and int4 the receiver's values differ by a hundredth of themselves from
the sender's, who knows it. Peers are simulated, with normally distributed values that differ by a tenth of themselves
at the start. They average in random groups of four, by the very code of real ones. Disagreement is the root mean square
distance of the peers from their mean, error the distance of that mean from the one at the start, both relative to the
root mean square of the values.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from benchmarks.measure import Summary, machine, show_table, summary, whole_number, write_json
from gossiptrain.config import CodecName
from gossiptrain.core.averaging import Vector
from gossiptrain.core.codecs import Bytes, codec_named
from gossiptrain.core.modular import Modular, blocks_of
from gossiptrain.simulate.meeting import longest_chunk, meet_coded, meet_far_apart, meet_nearby
from gossiptrain.swarm.coding import Buffers, UnreadableError
from gossiptrain.swarm.near_coding import NEAR_BITS, SpreadEstimate

NAMES: tuple[CodecName, ...] = get_args(CodecName)
PEERS, GROUP, ROUNDS = 8, 4, 30
PEER_ELEMENTS = 20_000
SPREAD = 0.1
APART = 0.01
"""Of receivers from senders, where speeds are measured."""


@dataclass(frozen=True)
class Floor:
    """Where simulated peers end: `disagreement` among them, `error` of their mean."""

    disagreement: float
    error: float


@dataclass(frozen=True)
class Figures:
    """One row. Speeds in GB/s of float32. error: of one chunk coded once, relative, root mean square."""

    codec: CodecName
    elements: int
    bytes_per_value: float
    encode_gb_per_s: Summary
    decode_gb_per_s: Summary
    error: float
    in_groups: Floor


def measure(name: CodecName, *, elements: int, repetitions: int, calls: int) -> Figures:
    """Times one codec and simulates peers that use it."""
    values = np.random.default_rng(0).standard_normal(elements, np.float32)
    found = np.empty_like(values)
    encode, decode, raw = coder(name, values, found)
    encode()
    decode()
    error = relative(found - values, values)
    return Figures(
        codec=name,
        elements=elements,
        bytes_per_value=len(raw) / elements,
        encode_gb_per_s=speed(encode, values, repetitions=repetitions, calls=calls),
        decode_gb_per_s=speed(decode, values, repetitions=repetitions, calls=calls),
        error=error,
        in_groups=in_groups(name),
    )


def coder(name: CodecName, values: Vector, found: Vector) -> tuple[Callable[[], object], Callable[[], object], Bytes]:
    """Two calls that write `values` to the bytes, and those to `found`."""
    match name:
        case "int8" | "int4":
            modular = Modular(len(values), bits=NEAR_BITS[name])
            max_deviation = np.full(blocks_of(len(values)), 6 * APART, np.float32)
            other = values * np.float32(1 + APART)
            raw = np.empty(modular.size_bytes(len(values)), np.uint8)
            return (
                lambda: modular.encode(values, max_deviation, raw, dither_offset=5),
                lambda: modular.decode(raw, other, found),
                raw,
            )
        case _:
            codec = codec_named(name)
            raw = np.empty(codec.size_bytes(len(values)), np.uint8)
            return lambda: codec.encode(values, raw), lambda: codec.decode(raw, found), raw


def speed(work: Callable[[], object], values: Vector, *, repetitions: int, calls: int) -> Summary:
    """GB/s of float32; each repetition does the work `calls` times. One before them is not counted."""
    samples: list[float] = []
    for _ in range(repetitions + 1):
        started_s = time.perf_counter()
        for _ in range(calls):
            work()
        samples.append(calls * values.nbytes / (time.perf_counter() - started_s) / 1e9)
    return summary(samples[1:])


def in_groups(name: CodecName) -> Floor:
    """Random groups of four, whose members take over the average."""
    peers = start()
    wanted = mean_of(peers)
    averages = np.empty_like(peers)
    longest = longest_chunk(PEER_ELEMENTS)
    modular = Modular(longest, bits=NEAR_BITS.get(name, 8))
    spreads = [SpreadEstimate(PEER_ELEMENTS) for _ in range(PEERS)]
    rng = np.random.default_rng(1)
    for _ in range(ROUNDS):
        for group in rng.permutation(PEERS).reshape(-1, GROUP):
            members = [Buffers(peers[peer], averages[peer]) for peer in group]
            known, seeds = [spreads[peer] for peer in group], rng.integers(1 << 32, size=GROUP).tolist()
            match name:
                case "int8" | "int4":
                    try:
                        meet_nearby(members, [1] * GROUP, modular, known, seeds)
                    except UnreadableError:
                        meet_far_apart(members, [1] * GROUP, known)
                case _:
                    meet_coded(members, [1] * GROUP, codec_named(name))
        peers[:] = averages
    return floor(peers, wanted)


def start() -> Vector:
    """The peers [PEERS, PEER_ELEMENTS]."""
    rng = np.random.default_rng(0)
    common = rng.standard_normal(PEER_ELEMENTS, np.float32)
    peers = rng.standard_normal((PEERS, PEER_ELEMENTS), np.float32)
    peers *= np.float32(SPREAD)
    peers += common
    return peers


def mean_of(vectors: Vector) -> Vector:
    """In float64, then rounded."""
    return np.asarray(np.mean(vectors, axis=0, dtype=np.float64), np.float32)


def floor(peers: Vector, wanted: Vector) -> Floor:
    """How far the peers are from each other, and their mean from the wanted one."""
    mean = mean_of(peers)
    return Floor(disagreement=relative(peers - mean, mean), error=relative(mean - wanted, wanted))


def relative(differences: Vector, values: Vector) -> float:
    """Root mean square of one relative to that of the other."""
    squares = [float(np.mean(np.square(vector, dtype=np.float64))) for vector in (differences, values)]
    return math.sqrt(squares[0] / squares[1])


def with_spread(speeds: Summary) -> str:
    """`7.1 (6.8-7.3)`: median, least and most."""
    return f"{speeds.median:.1f} ({speeds.minimum:.1f}-{speeds.maximum:.1f})"


def show(results: list[Figures]) -> None:
    """Two tables: costs, and what becomes of averages."""
    cost_rows = [
        [
            result.codec,
            f"{result.bytes_per_value:.3f}",
            with_spread(result.encode_gb_per_s),
            with_spread(result.decode_gb_per_s),
            f"{result.error:.1e}",
        ]
        for result in results
    ]
    columns = ["", "bytes per value", "encode, GB/s", "decode, GB/s", "error, once"]
    show_table(f"One chunk of {results[0].elements:,} values", columns, cost_rows)
    floor_rows = [
        [result.codec, f"{result.in_groups.disagreement:.1e}", f"{result.in_groups.error:.1e}"] for result in results
    ]
    title = f"{PEERS} peers in groups of {GROUP} after {ROUNDS} rounds"
    show_table(title, ["", "disagreement", "error of the mean"], floor_rows)


def main() -> None:
    """Reads the arguments, measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codecs", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument(
        "--elements", type=whole_number(1, 1 << 24), default=65536, metavar="N", help="values in a chunk (65536)"
    )
    parser.add_argument("--repetitions", type=whole_number(1), default=30, metavar="N", help="speeds measured (30)")
    parser.add_argument("--calls", type=whole_number(1), default=100, metavar="N", help="chunks in each (100)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    given = parser.parse_args()
    where = machine()
    results = [
        measure(name, elements=given.elements, repetitions=given.repetitions, calls=given.calls)
        for name in given.codecs
    ]
    show(results)
    if given.json is not None:
        write_json(given.json, benchmark="codecs", measured_on=where, results=results)


if __name__ == "__main__":
    main()
