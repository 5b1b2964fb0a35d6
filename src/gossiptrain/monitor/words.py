"""How figures and foreign text are put into words for a person.

Owns units, the short form of a peer id, sparklines, and the one place where text that came from outside is made
harmless. Does not know events or terminals.
"""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Mapping, Sequence

UNKNOWN = "–"
_LARGEST = 1e30
_BLOCKS = "▁▂▃▄▅▆▇█"
# Control, format (among them those that turn the direction of writing), surrogate, private, unassigned, line breaks.
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_AS_SPACES = str.maketrans("\t\r\n", "   ")


def printable(text: str, limit: int = 200) -> str:
    """`text` as one line of at most `limit` characters that cannot move the cursor or change colours.

    Rich markup in it stays as it is: views hand it to Rich as plain text and never as markup.
    """
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return harmless(cut.translate(_AS_SPACES))


def harmless(text: str) -> str:
    """`text` with its lines and tabs, and with nothing else that could move the cursor or change colours."""
    return "".join(
        character if character in "\n\t" or unicodedata.category(character) not in _UNPRINTABLE else "\ufffd"
        for character in text
    )


def short_peer(peer_id: str) -> str:
    """The end of a peer id: all ids begin alike."""
    name = printable(peer_id)
    return name if len(name) <= 10 else f"…{name[-6:]}"


def number(value: float | None, digits: int = 4) -> str:
    """A measured value with `digits` significant digits."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if 10 ** (digits - 1) <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:#.{digits}g}".rstrip(".")


def percent(share: float | None) -> str:
    """A share of one: `0.912` is `91.2 %`, and `0.0042` is `0.42 %`."""
    if share is None or not math.isfinite(share):
        return UNKNOWN
    per_cent = 100 * share
    return f"{per_cent:.1f} %" if per_cent == 0 or 1 <= abs(per_cent) < 1e6 else f"{per_cent:#.2g} %"


def data_size(size_bytes: float) -> str:
    """Bytes in decimal units, as networks are measured."""
    size, unit = float(size_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB", "PB"):
        if size < 999.5:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" or size >= 99.5 else f"{size:.1f} {unit}"


def duration(seconds: float | None) -> str:
    """`0.183` is `183 ms`, `12.34` is `12.3 s`, `75` is `1:15 min`, `7300` is `2:01 h`."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return UNKNOWN
    if seconds < 0.9995:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,}:{minutes:02d} h" if hours < 1_000_000 else UNKNOWN


def paths_in_words(used: Mapping[str, str]) -> str:
    """`direct` where all links were so, `1 of 3 direct` where some were, nothing where libp2p's daemon carried all."""
    direct = sum(1 for kind in used.values() if kind == "direct")
    if not direct:
        return ""
    return "direct" if direct == len(used) else f"{direct} of {len(used)} direct"


def counted(amount: int, noun: str) -> str:
    """`1 peer`, `2 peers`."""
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"


class History:
    """The course of one value over a run of any length, in at most `capacity` points of equal spans."""

    def __init__(self, capacity: int = 512) -> None:
        self.values: list[float] = []
        self._capacity = capacity - capacity % 2
        self._span = 1
        self._pending: list[float] = []

    def append(self, value: float | None) -> None:
        """Adds a value; None and what is not finite are passed over, and what is beyond all reason is clipped."""
        if value is None or not math.isfinite(value):
            return
        self._pending.append(max(-_LARGEST, min(_LARGEST, value)))
        if len(self._pending) < self._span:
            return
        self.values.append(math.fsum(self._pending) / len(self._pending))
        self._pending.clear()
        if len(self.values) >= self._capacity:
            pairs = zip(self.values[::2], self.values[1::2], strict=True)
            self.values = [(first + second) / 2 for first, second in pairs]
            self._span *= 2


def sparkline(values: Sequence[float], *, width: int, logarithmic: bool = False) -> str:
    """`values`, all finite, as at most `width` block characters. logarithmic: for values over many decades."""
    if not values or width < 1:
        return ""
    columns = min(width, len(values))
    edges = [column * len(values) // columns for column in range(columns + 1)]
    heights = [math.fsum(values[start:end]) / (end - start) for start, end in itertools.pairwise(edges)]
    if logarithmic:
        heights = [math.log(max(height, 1e-12)) for height in heights]
    lowest, highest = min(heights), max(heights)
    scale = (len(_BLOCKS) - 1) / (highest - lowest) if highest > lowest else 0.0
    return "".join(_BLOCKS[min(len(_BLOCKS) - 1, round((height - lowest) * scale))] for height in heights)
