"""A real browser in front of a real server: starting both, drawing with the mouse, looking at what came out."""

from __future__ import annotations

import math
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]
AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"

Line = Sequence[tuple[float, float]]


def _head() -> Line:
    angles = [math.pi * (-0.28 + 1.56 * step / 40) for step in range(41)]
    return [(0.5 + 0.34 * math.cos(angle), 0.55 + 0.3 * math.sin(angle)) for angle in angles]


CAT: Sequence[Line] = (
    _head(),
    [(0.2, 0.42), (0.18, 0.12), (0.38, 0.28)],
    [(0.62, 0.28), (0.82, 0.12), (0.8, 0.42)],
    [(0.38, 0.28), (0.5, 0.26), (0.62, 0.28)],
    [(0.37, 0.47), (0.37, 0.53)],
    [(0.63, 0.47), (0.63, 0.53)],
    [(0.46, 0.6), (0.54, 0.6), (0.5, 0.65), (0.46, 0.6)],
    [(0.5, 0.65), (0.5, 0.69), (0.44, 0.72), (0.39, 0.7)],
    [(0.5, 0.69), (0.56, 0.72), (0.61, 0.7)],
    [(0.3, 0.62), (0.1, 0.6)],
    [(0.7, 0.62), (0.9, 0.6)],
    [(0.3, 0.68), (0.1, 0.67)],
    [(0.7, 0.68), (0.9, 0.67)],
)
"""The strokes of a cat's face on a unit square."""


def need_browser() -> Any:
    """Playwright; skips the test where it or Chromium is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    return playwright


@contextmanager
def browsing() -> Iterator[Any]:
    """The system's Chromium, without a window; skips the test where there is none.

    Until the block ends, an event loop runs in this thread, so that nothing else can start one there.
    """
    with need_browser().sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield started
        started.close()


@contextmanager
def serving(*indexes: Path, options: Sequence[str] = ()) -> Iterator[str]:
    """Run ``crosslens serve`` until the block ends; gives its address once it is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "crosslens", "serve", *map(str, indexes), "--port", str(port), *options]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(2400):
            if process.poll() is not None:
                raise AssertionError(f"the server stopped: {process.communicate()[0].decode()}")
            try:
                urllib.request.urlopen(address + "ready", timeout=60).close()
                break
            except (urllib.error.URLError, TimeoutError, ConnectionError):
                time.sleep(0.1)
        else:
            raise AssertionError("the server did not become ready within minutes")
        yield address
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


@dataclass
class Visit:
    """One tab on the search page, with everything it asked for and complained about."""

    page: Any
    address: str
    requests: list[Any] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    expected: str | None = None
    """A pattern for complaints that the test provokes."""
    _spy: ClassVar[str] = """
        document.addEventListener('securitypolicyviolation', e => console.error('CSP: ' + e.violatedDirective));
        window.searched = [];
        const real = window.fetch;
        window.fetch = (url, init = {}) => {
            const form = init.body instanceof FormData;
            if (String(url).endsWith('/search')) {
                window.searched.push(JSON.parse(form ? init.body.get('query') : init.body));
            }
            return real(url, init);
        };
    """  # Chromium's own record of requests leaves out forms with files

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.requests.append(request))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._listen)
        self.page.add_init_script(self._spy)

    def _listen(self, line: Any) -> None:
        # Where a test allows no service worker, the driver says so.
        if line.type in ("error", "warning") and "blocked by Playwright" not in line.text:
            self.complaints.append(line.text)

    def open(self, hash: str = "") -> Visit:
        """Go to the page."""
        self.page.goto(self.address + hash)
        self.page.wait_for_selector(".page, .alone .state")
        return self

    def check(self) -> None:
        """The page asked only its own server and said nothing on the console that the test did not expect."""
        own = re.compile(rf"(blob:)?{re.escape(self.address)}|data:")
        foreign = [request.url for request in self.requests if not own.match(request.url)]
        assert not foreign, foreign
        known = re.compile(self.expected) if self.expected else None
        assert not [words for words in self.complaints if not (known and known.search(words))], self.complaints

    def settle(self) -> None:
        """Wait until the page has asked for the newest query and shows the answer."""
        self.page.wait_for_timeout(320)  # the page waits 250 ms after the last change
        self.page.wait_for_selector(".results[aria-busy=true]", state="detached")

    def draw(self, lines: Sequence[Line] = CAT) -> None:
        """Draw lines of the unit square with the mouse."""
        box = self.page.locator(".paper canvas").bounding_box()
        mouse = self.page.mouse
        for line in lines:
            places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in line]
            mouse.move(*places[0])
            mouse.down()
            for place in places[1:]:
                mouse.move(*place, steps=3)
            mouse.up()

    def searches(self) -> list[dict[str, Any]]:
        """The queries sent since the page was opened, oldest first."""
        return self.page.evaluate("window.searched")

    def names(self, side: int = 0) -> list[str]:
        """Labels of the hits, best first."""
        return self.page.locator(".results").nth(side).locator(".hit-name").all_inner_texts()

    def domains(self) -> list[str]:
        """Domains of the hits, best first."""
        return self.page.locator(".hit-domain").evaluate_all("all => all.map(one => one.lastChild.textContent)")

    def scores(self) -> list[float]:
        """Scores of the hits, best first."""
        texts = self.page.locator(".hit-score").evaluate_all("all => all.map(one => one.lastChild.textContent)")
        return [float(text) for text in texts]

    def parts(self) -> list[str]:
        """Names of the parts of the query."""
        return self.page.locator(".part-name").all_inner_texts()
