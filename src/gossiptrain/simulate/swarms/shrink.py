"""The smallest part of a plan of faults with which a run still fails.

Owns the search: halves of the plan are left out, then quarters, and so on, down to single faults (Zeller's delta
debugging). Does not know what a run is.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

MOST_RUNS = 60

Numbers = tuple[int, ...]


def smallest(numbers: Sequence[int], fails: Callable[[Numbers], bool], *, most_runs: int = MOST_RUNS) -> Numbers:
    """A part of `numbers` for which `fails` holds and, unless runs are used up, for none with one less.

    `numbers` itself is taken to fail. fails: is asked at most `most_runs` times.
    """
    kept = tuple(numbers)
    asked: dict[Numbers, bool] = {}

    def still_fails(part: Numbers) -> bool:
        if part not in asked:
            asked[part] = fails(part)
        return asked[part]

    pieces = 1
    while kept and len(asked) < most_runs:
        parts = (part for part in _without_each(kept, pieces) if part in asked or len(asked) < most_runs)
        smaller = next(filter(still_fails, parts), None)
        if smaller is not None:
            kept, pieces = smaller, max(1, min(pieces - 1, len(smaller)))
        elif pieces >= len(kept):
            break
        else:
            pieces = min(2 * pieces, len(kept))
    return kept


def _without_each(numbers: Numbers, pieces: int) -> list[Numbers]:
    """The numbers without each of so many pieces of about one length."""
    ends = [len(numbers) * piece // pieces for piece in range(pieces + 1)]
    return [numbers[:start] + numbers[end:] for start, end in itertools.pairwise(ends)]
