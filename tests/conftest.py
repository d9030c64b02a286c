"""What holds for every test: how Hypothesis searches, and that no setting of the caller's shell leaks in.

Servers that tests start keep their bytecode, as installed ones do, also where the caller's shell forbids it: a hundred
of them would compile the same files a hundred times.

Their folders lie in memory where there is room: hundreds of tests make databases, and wait for their disk. What a disk
does when it fails is tested by making calls fail, not by having one.

A failing property prints a blob (`@reproduce_failure`) that repeats it exactly, on any machine; without it
every run searches elsewhere. There is no deadline per example: on a busy machine it would measure the
machine.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.effort import examples

settings.register_profile(
    "holdfast",
    max_examples=examples(40),
    deadline=None,
    derandomize=False,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("holdfast")

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
for name in [name for name in os.environ if name.startswith("HOLDFAST_")]:
    del os.environ[name]

MEMORY, MEMORY_LEAST_BYTES = Path("/dev/shm"), 2 << 30


def pytest_configure(config: pytest.Config) -> None:
    """Choose where temporary folders are made, unless the caller has."""
    root = MEMORY / f"holdfast-tests-{os.getuid()}"
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= MEMORY_LEAST_BYTES:
        root.mkdir(mode=0o700, exist_ok=True)
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(root))
