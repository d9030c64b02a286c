"""Files that several processes share: one at a time brings the log in."""

from __future__ import annotations

from pathlib import Path

from cluster.sqlite.connection import Database, Kind, create
from cluster.sqlite.file import CHECKPOINT_BYTES, PAGES_BYTES, File
from cluster.sqlite.locks import turn
from tests.cluster.sqlite.test_connection import begun_anew

KIND = Kind("list", 77, 1, ("CREATE TABLE things (name TEXT PRIMARY KEY)",))


async def test_a_log_is_brought_in_when_it_has_grown_and_nobody_else_does_it(tmp_path: Path) -> None:
    path, path_of_turn = tmp_path / "list.db", tmp_path / "turn.lock"
    create(path, KIND)
    file = File(path, KIND, synced=False, turn=path_of_turn)
    await file.change("INSERT INTO things VALUES ('first')")
    assert file.grown_bytes == PAGES_BYTES
    before = begun_anew(path)

    await file.checkpoint()
    assert begun_anew(path) == before, "it has not grown"

    file.grown_bytes = CHECKPOINT_BYTES
    with turn(path_of_turn) as ours:
        assert ours
        await file.checkpoint()
    assert begun_anew(path) == before, "another does it"
    assert file.grown_bytes == 0

    writer = Database(path, KIND)
    writer.change("BEGIN IMMEDIATE")
    file.grown_bytes = CHECKPOINT_BYTES
    await file.checkpoint()
    assert begun_anew(path) == before, "another writes"
    assert file.grown_bytes >= CHECKPOINT_BYTES, "so it is for the next look"
    writer.change("COMMIT")
    writer.close()

    await file.checkpoint()
    assert begun_anew(path) == (before + 2) % 2**32
    assert file.grown_bytes == 0
    with turn(path_of_turn) as free:
        assert free
    assert await file.rows("SELECT name FROM things") == [("first",)]
    await file.aclose()
