"""Real processes: what of theirs outlives SIGKILL, who is told that a name is taken, and who may be killed."""

from __future__ import annotations

import fcntl
import os
import signal
from pathlib import Path

import pytest
import trio

from cluster.errors import NodeTaken
from cluster.sqlite import SqliteStore
from tests.cluster.helpers import append_all, member
from tests.cluster.sqlite.child import child, record

A = member("a").incarnation


async def all_records(store: SqliteStore, incarnation: str) -> list[bytes]:
    found: list[bytes] = []
    while some := await store.journals.read(incarnation, len(found) + 1, 10**9):
        found += some
    return found


async def test_what_was_acknowledged_outlives_sigkill(tmp_path: Path) -> None:
    """Four processes at a time, each appending to its own file, killed in the middle of it: eight kills in all."""

    async def kill(store: SqliteStore, folder: Path, node: str, after: int) -> None:
        incarnation = member(node).incarnation
        async with child(folder, node) as victim:
            assert await victim.lines_to(str(after)) == str(after)
            victim.process.send_signal(signal.SIGKILL)
            acknowledged = int(await victim.lines_to("") or after)
            assert await victim.process.wait() == -signal.SIGKILL
        tip = await store.journals.seal(incarnation)
        assert tip in (max(acknowledged, after), max(acknowledged, after) + 1)
        found = await all_records(store, incarnation)
        assert found == [record(incarnation, position) for position in range(1, tip + 1)]

    async with SqliteStore.open(tmp_path) as store:
        for life in range(2):
            async with trio.open_nursery() as nursery:
                for number in range(4):
                    nursery.start_soon(kill, store, tmp_path, f"n{life}{number}", 20 + 17 * life + 5 * number)
        assert len([m for m in await store.journals.members() if m.sealed]) == 8


async def test_a_stopped_process_is_killed_before_its_journal_is_sealed(tmp_path: Path) -> None:
    async with SqliteStore.open(tmp_path) as store, child(tmp_path, "a", 3) as stopped:
        assert await stopped.lines_to("done") == "done"
        stopped.process.send_signal(signal.SIGSTOP)
        assert store.alive(A)
        assert await store.journals.seal(A) == 3
        assert await stopped.process.wait() == -signal.SIGKILL
        assert not store.alive(A)
        assert await all_records(store, A) == [record(A, position) for position in (1, 2, 3)]


async def test_a_process_stopped_while_it_appends_is_killed_and_its_journal_whole(tmp_path: Path) -> None:
    """Whatever it was stopped in, even holding SQLite's lock on the file."""
    async with SqliteStore.open(tmp_path) as store:
        for life in range(2):
            incarnation = member(f"n{life}").incarnation
            async with child(tmp_path, f"n{life}") as stopped:
                await stopped.lines_to(str(30 + life))
                stopped.process.send_signal(signal.SIGSTOP)
                tip = await store.journals.seal(incarnation)
                acknowledged = int(await stopped.lines_to("") or 30 + life)
                assert tip >= acknowledged
                assert await all_records(store, incarnation) == [record(incarnation, p) for p in range(1, tip + 1)]


async def test_a_second_server_under_the_same_name_is_told(tmp_path: Path) -> None:
    async with SqliteStore.open(tmp_path) as store:
        await store.journals.open(member("a"))
        async with child(tmp_path, "a") as second:
            told = await second.line()
            assert told.startswith("StoreUnusable: "), "the very incarnation"
        async with child(tmp_path, "b", 0) as first:
            assert await first.lines_to("done") == "done"
            with pytest.raises(NodeTaken, match=rf"b.*{first.process.pid}.*--node.*--data"):
                await store.journals.open(member("b", life=2))
        await store.journals.open(member("b", life=3))


async def test_a_process_that_has_ended_is_not_alive_and_its_pid_means_nothing(tmp_path: Path) -> None:
    async with SqliteStore.open(tmp_path) as store, child(tmp_path, "bystander", 0) as bystander:
        await bystander.lines_to("done")
        async with child(tmp_path, "a", 2) as dead:
            await dead.lines_to("done")
        (tmp_path / "locks" / f"{A}.lock").write_text(f"{bystander.process.pid}\n")  # its pid was used again
        assert not store.alive(A)
        assert await store.journals.seal(A) == 2
        assert store.alive(member("bystander").incarnation)


async def test_our_own_process_is_never_killed(tmp_path: Path) -> None:
    async with SqliteStore.open(tmp_path) as store, SqliteStore.open(tmp_path) as other:
        await store.journals.open(member("a"))
        await append_all(store, A, [record(A, 1)])
        assert await other.journals.seal(A) == 1


async def test_a_pid_of_another_container_is_not_killed(tmp_path: Path) -> None:
    """Its lock is seen through the shared folder, its pid is somebody else's here."""
    async with SqliteStore.open(tmp_path) as store, child(tmp_path, "bystander", 0) as bystander:
        await bystander.lines_to("done")
        async with SqliteStore.open(tmp_path) as first:
            await first.journals.open(member("a"))
        path = tmp_path / "locks" / f"{A}.lock"
        with path.open("w") as far:
            fcntl.flock(far, fcntl.LOCK_EX)
            far.write(f"{bystander.process.pid} another-boot.4026531836\n")
            far.flush()
            assert store.alive(A)
            assert await store.journals.seal(A) == 0
        assert bystander.process.poll() is None


async def test_a_forked_child_keeps_nobody_alive(tmp_path: Path) -> None:
    async with SqliteStore.open(tmp_path) as store:
        await store.journals.open(member("a"))
        go, wait = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(wait)
            os.read(go, 1)  # until the parent lets go
            os._exit(0)
        os.close(go)
        try:
            async with SqliteStore.open(tmp_path) as other:
                await store.aclose()
                assert not other.alive(A)
        finally:
            os.close(wait)
            await trio.to_thread.run_sync(os.waitpid, pid, 0)
