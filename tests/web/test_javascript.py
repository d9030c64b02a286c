"""The browser's side under Node: it reads what Python writes, and moves as the server moves.

The vectors are made for this run, by `tests.web.vectors`; the tests themselves are tests/web/js/*.test.mjs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.web import vectors

ROOT = Path(__file__).resolve().parents[2]
NODE_MIN = 20
"""The first with a test runner that is stable, and with Web Crypto."""


def node() -> str:
    """Node's path; skips where there is none that can run them."""
    path = shutil.which("node")
    if path is None:
        pytest.skip("the browser's side is tested by Node, and there is no `node` (20 or newer) here")
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.lstrip("v").split(".")[0]) < NODE_MIN:
        pytest.skip(f"the browser's side is tested by Node {NODE_MIN} or newer, and this is {version}")
    return path


def test_what_python_writes_is_read_in_javascript(tmp_path: Path) -> None:
    path = node()
    vectors.write(tmp_path)
    files = sorted(str(file) for file in (ROOT / "tests" / "web" / "js").glob("*.test.mjs"))
    done = subprocess.run(
        [path, "--test", "--test-reporter=tap", *files],
        env={**os.environ, "HOLDFAST_VECTORS": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"# tests {len(files)}" not in done.stdout, "files that ran no test count as one each"
