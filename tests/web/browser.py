"""A real browser on real nodes: Debian's Chromium without a screen, and a cluster that it plays on.

    python -m tests.web.browser     says whether there is one, and which

`HOLDFAST_CHROMIUM` names another Chromium. Where there is none the tests are skipped and say so.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from tests.server.processes import HOME, Server

if TYPE_CHECKING:  # imported lazily below: it is a tool of the tests, and not everybody has it
    from playwright.sync_api import Browser, BrowserContext, Page

WAIT_S = 30.0
"""What does not show within this does not come."""
PICTURES = Path(__file__).parent / "pictures"
"""Screenshots for a person to look at; not kept in the repository."""
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
NODES = 3


def chromium() -> str | None:
    """The browser's path; None where there is none."""
    named = os.environ.get("HOLDFAST_CHROMIUM")
    return named or shutil.which("chromium") or shutil.which("chromium-browser")


def why_not() -> str:
    """Why no browser can be driven here; "" where one can."""
    try:
        import playwright  # noqa: F401
    except ImportError:
        return "playwright is not installed (make setup, then make test)"
    if chromium() is None:
        return "there is no Chromium here: apt-get install chromium, or HOLDFAST_CHROMIUM=/path/to/it"
    return ""


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A fresh browser with a profile of its own; skips the test where there is none."""
    reason = why_not()
    if reason:
        pytest.skip(f"the pages are tested in a browser, and {reason}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=chromium(), headless=True, args=list(ARGUMENTS))
        try:
            yield found
        finally:
            found.close()


@attrs.define
class Cluster:
    """A supervisor with its nodes, the games in them, and their pages."""

    server: Server
    data: Path

    @property
    def pages(self) -> str:
        """The address of the pages."""
        return f"http://127.0.0.1:{self.server.started['http_port']}"

    @property
    def token(self) -> str:
        """The operator's."""
        return (self.data / "http.token").read_text().strip()

    def ask(self, path: str, method: str = "GET") -> Any:
        """What the API answers the operator."""
        headers = {"Authorization": f"Bearer {self.token}"}
        asked = urllib.request.Request(f"{self.pages}/api/v1/{path}", headers=headers, method=method)
        with urllib.request.urlopen(asked, timeout=WAIT_S) as answer:
            return json.load(answer)

    def node_of(self, room: str) -> dict[str, Any]:
        """The member that runs a room, as the API tells."""
        name = self.ask(f"rooms/{room}")["node"]
        return next(member for member in self.ask("cluster")["nodes"] if member["node"] == name)

    def kill_node_of(self, room: str) -> str:
        """SIGKILL to the process that runs a room; the name of its node."""
        member = self.node_of(room)
        os.kill(member["report"]["pid"], signal.SIGKILL)
        return str(member["node"])


@contextlib.contextmanager
def cluster(*options: str) -> Iterator[Cluster]:
    """A cluster that has started; ended again."""
    with tempfile.TemporaryDirectory(prefix="holdfast-web-") as folder:
        data = Path(folder) / "data"
        words = ["--port", "0", "--http-port", "0", "--nodes", str(NODES), "--game", "arena,whiteboard"]
        more = ["--log-format", "json", "--data", str(data), *options]
        server = Server([sys.executable, "-m", "holdfast", "serve", *words, *more], HOME)
        try:
            server.started = server.wait_for("nodes_started")
            yield Cluster(server, data)
        finally:
            server.end()


LOOK = """new Promise((resolve) => {{
  const end = performance.now() + {left_ms};
  const look = () => {{
    let found;
    try {{ found = ({expression}); }} catch {{ found = null; }}
    if (found || performance.now() > end) resolve(found || null);
    else setTimeout(look, 8);
  }};
  look();
}})"""


@attrs.define
class Tab:
    """A page that is open, and what its console has said."""

    page: Page
    context: BrowserContext
    errors: list[str] = attrs.field(factory=list)

    def value(self, expression: str) -> Any:
        """What an expression is in the page, now. (It works under the page's Content-Security-Policy, which forbids
        playwright's own way of waiting.)"""
        return self.page.evaluate(expression)

    def until(self, expression: str, within_s: float = WAIT_S) -> Any:
        """Wait until an expression is true; its value. Fails when it does not become so."""
        found = self.within(expression, within_s)
        assert found, f"not within {within_s:g} s: {expression} in {self.page.url}"
        return found

    def within(self, expression: str, within_s: float) -> Any:
        """The value of an expression as soon as it is true; None when it does not become so. The page looks by itself,
        every few milliseconds; what throws (yet) is not true."""
        from playwright.sync_api import Error

        end = time.monotonic() + within_s
        while (left_s := end - time.monotonic()) > 0:
            try:
                return self.page.evaluate(LOOK.format(expression=expression, left_ms=left_s * 1000))
            except Error as error:
                if "context was destroyed" not in str(error) and "navigation" not in str(error):
                    raise  # (another document took its place, and is looked at now)
        return None

    def picture(self, name: str) -> None:
        """A screenshot for a person to look at."""
        PICTURES.mkdir(exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png")


@contextlib.contextmanager
def tab(found: Browser, address: str, *, lost: bool = False, **context: Any) -> Iterator[Tab]:
    """A page in a context of its own, which is another player. At the end its console must have told of no error;
    with `lost`, of none but connections that failed, which a browser tells of by itself."""
    own = found.new_context(**{"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark", **context})
    opened = Tab(own.new_page(), own)
    opened.page.on("console", lambda line: opened.errors.append(line.text) if line.type == "error" else None)
    opened.page.on("pageerror", lambda error: opened.errors.append(str(error)))
    try:
        opened.page.goto(address)
        yield opened
        errors = [text for text in opened.errors if not (lost and "WebSocket connection to" in text)]
        assert errors == []
    finally:
        own.close()


if __name__ == "__main__":
    reason = why_not()
    if reason:
        sys.exit(f"The tests of the pages will be skipped: {reason}.")
    told = subprocess.run([str(chromium()), "--version"], capture_output=True, text=True, check=False).stdout.strip()
    print(f"The pages are tested in {told}.")
