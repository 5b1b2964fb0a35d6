"""Headless Chromium, driven over two pipes by its own protocol, with nothing but the standard library.

Owns the process and the questions to it. Does not know which page it looks at.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
VARIABLE = "GOSSIPTRAIN_BROWSER"
ANSWER_S = 30.0


def browser_program() -> str | None:
    """Chromium on this computer, or what `GOSSIPTRAIN_BROWSER` names; None where there is none."""
    named = os.environ.get(VARIABLE)
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page in a browser of its own. Use it as a context manager."""

    def __init__(self, program: str) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="gossip-browser-", ignore_cleanup_errors=True)
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        self._number = 0
        self._buffer = b""
        self.console: list[str] = []
        """What the page has said of errors."""
        # The browser reads from descriptor 3 and writes to 4, which are those of a shell that puts them there.
        command = f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}'
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        arguments += ["--remote-debugging-pipe", "--disable-background-networking", "--hide-scrollbars"]
        self._process = subprocess.Popen(
            ["bash", "-c", command, program, *arguments, f"--user-data-dir={self._profile.name}", "about:blank"],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._session: str | None = None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._write)
        os.close(self._read)
        self._profile.cleanup()

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One question of the protocol and its answer. Raises RuntimeError where the browser refuses."""
        self._number += 1
        question: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            question["sessionId"] = self._session
        os.write(self._write, json.dumps(question).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result

    def look(self, url: str, *, width: int, height: int = 900, dark: bool = False, scale: float = 1) -> None:
        """Goes to a page, as a screen of that size and that colour scheme."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Page.navigate", url="about:blank")
        self.ask("Page.navigate", url=url)

    def value(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        result = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def until(self, script: str, *, limit_s: float = 20.0) -> None:
        """Waits until a JavaScript expression is true. Raises TimeoutError."""
        until_s = time.monotonic() + limit_s
        while not self.value(script):
            if time.monotonic() > until_s:
                raise TimeoutError(f"not true within {limit_s} s: {script}; the page says: {self.console}")
            time.sleep(0.02)

    def picture(self, path: Path, *, most_height: int = 4000) -> None:
        """The whole page as a PNG."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], most_height), "scale": 1}
        found = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(found["data"]))

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], ANSWER_S)
            data = os.read(self._read, 1 << 16) if ready else b""
            if not data:
                raise RuntimeError(f"the browser does not answer (exit code {self._process.poll()})")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        method, told = message.get("method"), message.get("params", {})
        is_error = method == "Runtime.consoleAPICalled" and told["type"] == "error"
        if is_error or method in ("Runtime.exceptionThrown", "Log.entryAdded"):
            self.console.append(json.dumps(told))
        return message
