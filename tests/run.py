"""`make test`: every test, in two processes side by side where there are two cores.

    real    tests that start servers, bots and browsers and watch their clocks   ── shown as they go
    pure    all others, which only compute                                       ── shown when these are done

One process would leave a core idle: nearly all of the tests compute. Tests that start processes stay in one of the two,
one after another, so that they meet at most one busy neighbour. With arguments it is plain pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

REAL = ("bots", "holdfast", "server", "web")
"""Folders of tests that start processes."""


def main(arguments: Sequence[str]) -> int:
    """Run the tests; pytest's exit code, the worse of both."""
    if arguments or (os.cpu_count() or 1) < 2:
        return subprocess.run(_pytest(arguments), check=False).returncode
    tests = Path(__file__).parent
    pure = sorted(
        str(path)
        for path in tests.iterdir()
        if (path.is_dir() and path.name not in REAL and path.name.isidentifier() and path.name[0] != "_")
        or (path.suffix == ".py" and path.name.startswith("test_"))
    )
    with tempfile.TemporaryFile() as said:
        beside = subprocess.Popen(_pytest(["-p", "no:cacheprovider", *pure]), stdout=said, stderr=subprocess.STDOUT)
        try:
            code = subprocess.run(_pytest([str(tests / name) for name in REAL]), check=False).returncode
        finally:
            code_beside = beside.wait()
        said.seek(0)
        sys.stdout.flush()
        sys.stdout.buffer.write(said.read())
        sys.stdout.flush()
    return max(code, code_beside)


def _pytest(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "pytest", *arguments]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
