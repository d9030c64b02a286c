"""One of the two processes of `make test`: pytest on the files that the other one has not taken.

    python -m tests.half FOLDER first     what is taken is noted in FOLDER; "last" begins at the other end

pytest collects all tests in both, and each then runs whole files, so what a module or a package sets up is set up once.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

FIRST = ("web", "bots", "holdfast")
"""Folders whose tests start processes; of others it is seen by what a file imports."""
STARTS = re.compile(r"^(from|import) .*process", re.MULTILINE)


@attrs.frozen
class Half:
    """A plugin of pytest."""

    taken: Path
    first: bool

    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Run what is left; None, which is pytest's own loop, when there were errors before."""
        if session.testsfailed:
            return None
        items = itertools.chain(self._items(session), [None])
        for item, following in itertools.pairwise(items):
            assert item is not None
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)
        return True

    def _items(self, session: pytest.Session) -> Iterator[pytest.Item]:
        """The tests of one file after another that nobody has begun with."""
        files: dict[Path, list[pytest.Item]] = {}
        for item in session.items:
            files.setdefault(item.path, []).append(item)
        order = sorted(files, key=place)
        for path in order if self.first else reversed(order):
            try:
                (self.taken / str(path.relative_to(session.config.rootpath)).replace("/", "-")).touch(exist_ok=False)
            except FileExistsError:
                return  # the other has come as far as here from its end
            yield from files[path]


def place(path: Path) -> tuple[int, Path]:
    """Where a file of tests stands in the order."""
    folder = path.relative_to(Path(__file__).parent).parts[0]
    if folder in FIRST:
        return FIRST.index(folder), path
    return len(FIRST) + (STARTS.search(path.read_text()) is None), path


if __name__ == "__main__":
    _, folder, end = sys.argv
    sys.exit(pytest.main([], plugins=[Half(Path(folder), end == "first")]))
