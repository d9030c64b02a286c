"""What every engine's tests supply, and what the contracts are given: handles on one and the same data."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import pytest

from cluster.store import Cipher, Store
from tests.cluster.helpers import member

A = member("a").incarnation
B = member("b").incarnation
C = member("c").incarnation


class OpenStore(Protocol):
    """Opens a handle on the data that all handles of a test share."""

    def __call__(self, cipher: Cipher | None = None) -> AbstractAsyncContextManager[Store]: ...


class Harness:
    """The fixtures of all contracts."""

    sees_processes = True
    """Whether the engine can tell which process lives."""

    @pytest.fixture
    def open_store(self) -> OpenStore:
        raise NotImplementedError("the engine's tests say how its store is opened")

    @pytest.fixture
    async def store(self, open_store: OpenStore) -> AsyncIterator[Store]:
        async with open_store() as store:
            yield store

    @pytest.fixture
    async def other(self, open_store: OpenStore) -> AsyncIterator[Store]:
        async with open_store() as store:
            yield store
