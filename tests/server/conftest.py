"""What tests of several nodes begin with: a store in memory, and nodes on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.memory import MemoryWorld
from tests.server.cluster_ends import SLOW_HZ, Node
from tests.server.games import Counter


@pytest.fixture
def world() -> MemoryWorld:
    return MemoryWorld()


@pytest.fixture
def make(world: MemoryWorld, tmp_path: Path) -> Callable[[str], Node]:
    """Nodes by their names, which play a counter."""
    return lambda name: Node(world, tmp_path, name)


@pytest.fixture
def slow(world: MemoryWorld, tmp_path: Path) -> Callable[[str], Node]:
    """The same with slow rooms."""
    return lambda name: Node(world, tmp_path, name, Counter(None, SLOW_HZ))
