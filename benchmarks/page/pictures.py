"""Draws the page of swarms of 1, 4 and 64 peers, light and dark, on a screen and a phone.

`python -m benchmarks.page.pictures FOLDER` draws all of them; with `--docs` the two that the documentation shows, in
few colours so that they are small. The swarms are told, not trained; what is told goes the way of real events.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from benchmarks.page.browser import VARIABLE, Browser, browser_program
from benchmarks.page.story import BEGIN, Story
from gossiptrain.monitor.page.picture import SwarmPicture
from gossiptrain.monitor.page.place import LOOPBACK, Place
from gossiptrain.monitor.page.server import PageServer

SECONDS = 240
WIDE, PHONE = 1280, 390
COLORS = 224


def picture_of(peers: int) -> SwarmPicture:
    """A swarm of so many, after four minutes."""
    picture = SwarmPicture("peer", clock=lambda: BEGIN + SECONDS)
    for event in Story(peers, seconds=SECONDS, group=4 if peers <= 16 else 8).events():
        picture.handle(event)
    return picture


def shot(browser: Browser, peers: int, path: Path, *, width: int, dark: bool, most_height: int = 6000) -> None:
    """One picture."""
    server = PageServer(Place(LOOPBACK, (0,)), picture_of(peers).snapshot)
    try:
        browser.look(server.url, width=width, dark=dark)
        browser.until("document.querySelectorAll('#rows tr').length > 0")
        browser.picture(path, most_height=most_height)
    finally:
        server.close()


def smaller(path: Path) -> None:
    """The same in few colours."""
    with Image.open(path) as image:
        image.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    """Writes the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--docs", action="store_true")
    given = parser.parse_args()
    program = browser_program()
    if program is None:
        sys.exit(f"There is no Chromium on this computer; {VARIABLE} names one that is elsewhere.")
    given.folder.mkdir(parents=True, exist_ok=True)
    with Browser(program) as browser:
        draw: Callable[..., None] = lambda *args, **more: shot(browser, *args, **more)  # noqa: E731
        if given.docs:
            for name, peers, dark in (("page", 4, False), ("page-64", 64, True)):
                path = given.folder / f"{name}.png"
                draw(peers, path, width=1120, dark=dark, most_height=1180)
                smaller(path)
            return
        for peers in (1, 4, 64):
            for screen, width in (("screen", WIDE), ("phone", PHONE)):
                for scheme in ("light", "dark"):
                    draw(peers, given.folder / f"{peers}-{screen}-{scheme}.png", width=width, dark=scheme == "dark")


if __name__ == "__main__":
    main()
