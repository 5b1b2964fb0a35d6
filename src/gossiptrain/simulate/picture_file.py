"""A picture as a file: in which forms, in which style, and what is said where it cannot be written.

Owns what all pictures have in common. matplotlib draws them, which is not installed with the rest: `pip install
'gossiptrain[lab]'`. Does not know what they show.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossiptrain.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "svg.fonttype": "none",
}


def check_picture(path: Path) -> None:
    """Raises UsageError where no picture can be drawn there, before hours are spent on what it is to show."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"A picture is written as {', '.join(FORMATS)}, not as {path.name}.")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"The picture {path} cannot be written: there is no folder {path.absolute().parent}.")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "Pictures are drawn by matplotlib, which is not installed.",
            remedy="Install it with: pip install 'gossiptrain[lab]'.",
        ) from error


@contextmanager
def picture_file(path: Path, *, size: tuple[float, float], repeatable: bool = False) -> Iterator[Figure]:
    """A figure of `size` [width, height] in inches, which is written to `path` at the end of the body.

    repeatable: the same figure is the same file, byte for byte. Raises UsageError where matplotlib is missing or the
    file cannot be written.
    """
    check_picture(path)
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style, metadata = dict(STYLE), None
    if repeatable and path.suffix.lower() == ".svg":
        style["svg.hashsalt"], metadata = "gossiptrain", {"Date": None}
    with mpl.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        yield figure
        try:
            figure.savefig(path, dpi=160, metadata=metadata)
        except OSError as error:
            raise UsageError(f"The picture {path} cannot be written: {error.strerror}.") from error
