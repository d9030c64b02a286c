"""`make test`: every test, in two processes side by side where there are two cores.

    first ──►  files that start processes │ all others, which compute  ◄── last
               shown as it goes                     shown when both are done

Both know all files, in this order. One takes them from the first on, the other from the last on, each whole, until they
meet (`tests/half.py`): neither is idle while there is something left, whatever is added and on whatever machine, and
tests that start processes meet nearly always one busy neighbour. With arguments it is plain pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Run the tests; pytest's exit code, the worse of both."""
    if arguments or (os.cpu_count() or 1) < 2:
        return subprocess.run([sys.executable, "-m", "pytest", *arguments], check=False).returncode
    with tempfile.TemporaryDirectory() as taken, tempfile.TemporaryFile() as said:
        half = [sys.executable, "-m", "tests.half", taken]
        beside = subprocess.Popen([*half, "last"], stdout=said, stderr=subprocess.STDOUT)
        try:
            code = subprocess.run([*half, "first"], check=False).returncode
        finally:
            code_beside = beside.wait()
        said.seek(0)
        sys.stdout.flush()
        sys.stdout.buffer.write(said.read())
        sys.stdout.flush()
    return max(code, code_beside)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
