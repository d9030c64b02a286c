"""All is the same where nothing is compiled: the tests of the hot path once more, in a process without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = (
    "netcode/test_ends.py",
    "netcode/test_inputs.py",
    "netcode/test_frame.py",
    "netcode/test_weblink.py",
    "bots/test_columns.py",
    "server/test_datagrams.py",
)
WITHOUT = """
import sys
sys.modules["netcode._packed"] = None  # as if it had not been built
import netcode.packed, pytest
assert netcode.packed.compiled is None
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""


def test_the_hot_path_without_compiled_code() -> None:
    command = [sys.executable, "-c", WITHOUT, *(f"tests/{name}" for name in TESTS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
