"""Rows that were damaged on the disk: left out of every list and told once, and nobody's room but their own is lost."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from cluster.errors import Damaged
from cluster.sqlite import SqliteStore
from cluster.sqlite.directory import PIECE_ROWS
from tests.cluster.helpers import entry

ROOMS = [entry(f"r{number:03}", "a.1", code=f"C{number}", target="a.1") for number in range(PIECE_ROWS + 20)]
HURT = f"r{PIECE_ROWS - 1:03}"
"""The last of a piece: the next one begins behind it."""
OTHERS = [room for room in ROOMS if room.room != HURT]


def hurt(folder: Path, sql: str, *values: Any) -> None:
    """Change the file behind the store's back."""
    with contextlib.closing(sqlite3.connect(folder / "directory.db", isolation_level=None)) as raw:
        assert raw.execute(sql, values).rowcount == 1


BROKEN = {
    "no JSON": ("chain", '[[1, "a.1"'),
    "no chain": ("chain", "[]"),
    "another chain": ("chain", '[[1, "b.1", 1, null]]'),
    "a span too short": ("chain", '[[1, "a.1"]]'),
    "a text for a position": ("chain", '[[1, "a.1", "one", null]]'),
    "an object": ("chain", "{}"),
    "deep": ("chain", "[" * 100_000),
    "no options": ("options", "7"),
    "bytes": ("options", b"\xff\xfe"),
    "no number": ("seed", "1e9"),
    "another type": ("players", "many"),
    "another epoch": ("epoch", 9),
}


@pytest.mark.parametrize("how", BROKEN)
async def test_a_row_that_makes_no_sense(tmp_path: Path, how: str) -> None:
    column, value = BROKEN[how]
    async with SqliteStore.open(tmp_path) as store:
        for room in ROOMS:
            await store.rooms.create(room)
        hurt(tmp_path, f"UPDATE rooms SET {column} = ? WHERE room = ?", value, HURT)
        await lists_the_others(store)


async def lists_the_others(store: SqliteStore) -> None:
    with capture_logs() as log:
        for _ in range(2):
            assert await store.rooms.entries() == OTHERS
            assert await store.rooms.owned_by("a.1") == OTHERS
            assert await store.rooms.coming_to("a.1") == OTHERS
        with pytest.raises(Damaged, match="damaged"):
            await store.rooms.get(HURT)
        assert await store.rooms.get("r000") == ROOMS[0]
        claimed = await store.rooms.claim([room.room for room in OTHERS], "a.1", 7, "b.1", 1)
        assert [row.room for row in claimed] == [room.room for room in OTHERS]
    assert [line["event"] for line in log] == ["row_unreadable"], "told once"
    assert "directory.db" in log[0]["error"]
    assert "backup" in log[0]["error"]


async def test_text_that_is_no_text(tmp_path: Path) -> None:
    """SQLite's reader refuses the whole list for it."""
    async with SqliteStore.open(tmp_path) as store:
        for room in ROOMS:
            await store.rooms.create(room)
        hurt(tmp_path, "UPDATE rooms SET fingerprint = CAST(? AS TEXT) WHERE room = ?", b"\xff\xfe", HURT)
        await lists_the_others(store)


async def test_a_private_room_whose_row_is_damaged_is_not_found(tmp_path: Path) -> None:
    async with SqliteStore.open(tmp_path) as store:
        for room in ROOMS[:2]:
            await store.rooms.create(room)
        hurt(tmp_path, "UPDATE rooms SET chain = '' WHERE room = 'r000'")
        assert await store.rooms.find_code("C0") is None
        assert await store.rooms.find_code("C1") == ROOMS[1]
