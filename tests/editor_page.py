"""The editor in a real browser, for tests: a server of its own process, and a page in Debian's Chromium."""

import base64
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
]
READ_FRAME = """() => {
  const { width, height, pixels } = layerloom.stage.pixels();
  let text = "";
  for (let at = 0; at < pixels.length; at += 8192) text += String.fromCharCode(...pixels.subarray(at, at + 8192));
  return [width, height, btoa(text)];
}"""


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Chromium without a screen. Where it is not installed the test is skipped, which CI does not allow."""
    if CHROMIUM is None:
        assert not os.environ.get("CI"), "CI installs Chromium (make programs)"
        pytest.skip("Chromium is not installed: make programs")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Served:
    """`layerloom edit` in a process of its own."""

    def __init__(self, project: Path) -> None:
        command = [sys.executable, "-c", "from layerloom.cli.main import run; run()", "edit", str(project), "--no-open"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        assert self.address.startswith("http://127.0.0.1:"), "the server did not start"

    def kill(self) -> None:
        """At once, as when the power fails."""
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """As ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)


def open_page(browser: Browser, address: str) -> Page:
    """The editor's page, ready to be used. Errors on it fail the test."""
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.wait_for_selector("body[data-ready=true]", timeout=60_000)
    until(lambda: page.evaluate("() => layerloom.session.state !== null"))
    assert not errors, errors
    return page


def until(holds: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait until something holds; what it gave."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "did not come"
        time.sleep(0.05)
    return found


def show(page: Page, frame: int) -> np.ndarray:
    """Go to a frame, and read it as the page composites it: h w 3."""
    page.evaluate("frame => layerloom.player.seek(frame)", frame)
    until(lambda: page.evaluate("frame => layerloom.frames.peek(frame)?.isExact", frame))
    width, height, text = page.evaluate(READ_FRAME)
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)[..., :3].copy()


def on_page(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where a pixel of the frame is in the window."""
    left, top = page.evaluate(
        """([x, y]) => {
          const [left, top] = layerloom.stage.frameView.toPage([x, y]);
          const area = document.querySelector(".stage").getBoundingClientRect();
          return [left / devicePixelRatio + area.left, top / devicePixelRatio + area.top];
        }""",
        [x, y],
    )
    return left, top


def drag(page: Page, points: list[tuple[float, float]], lets_go: bool = True) -> None:
    """Press at the first of some pixels of the frame, and move through the others."""
    page.mouse.move(*on_page(page, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*on_page(page, *point), steps=4)
    if lets_go:
        page.mouse.up()


def revision(page: Page) -> int:
    return page.evaluate("() => layerloom.session.state.revision")


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    error = np.mean((first.astype(float) - second) ** 2)
    return 99.0 if error == 0 else float(10 * np.log10(255**2 / error))
