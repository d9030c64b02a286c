"""The engine `sqlite` keeps the contract, in both durabilities."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from cluster.sqlite import SqliteStore
from cluster.store import Cipher, Store
from tests.cluster.contract import OpenStore, StoreContract


def opener(folder: Path, durability: str) -> OpenStore:
    def open_store(cipher: Cipher | None = None) -> AbstractAsyncContextManager[Store]:
        return SqliteStore.open(folder, durability, cipher)

    return open_store


class TestProcess(StoreContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return opener(tmp_path / "cluster", "process")


class TestDisk(StoreContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return opener(tmp_path / "cluster", "disk")
