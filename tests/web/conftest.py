"""One browser and one cluster for all tests of the pages: each test has players and rooms of its own.

Both end with the last of these tests: others are not to have them for neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.web import browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """A browser; skips where there is none."""
    with browser.browser() as found:
        yield found


@pytest.fixture(scope="package")
def cluster(chromium: Browser) -> Iterator[browser.Cluster]:
    """Three nodes with the arena and the whiteboard."""
    with browser.cluster("--rooms-max", "50") as found:
        yield found
