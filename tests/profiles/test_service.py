import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
import trio
import trio.testing

from profiles import service
from profiles.model import (
    Profile,
    ProfileInputError,
    ProfileNotFound,
    ProfileStoreBusy,
    ProfileStoreError,
)
from profiles.service import COMMIT_EVERY_S, Profiles
from tests.profiles.helpers import result, secret

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def _worker_held(profiles: Profiles) -> AsyncIterator[threading.Event]:
    """The worker thread is kept from working until the event is set, at the latest on leaving."""
    held, release = trio.Event(), threading.Event()

    def hold() -> None:
        trio.from_thread.run_sync(held.set)
        release.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(profiles._worker.run, hold)
        try:
            with trio.CancelScope(shield=True):
                await held.wait()
            yield release
        finally:
            release.set()


async def test_the_life_of_a_guest(tmp_path: Path) -> None:
    async with Profiles.open(tmp_path / "data" / "p.db") as profiles:
        ada = await profiles.guest(secret(1), " Ada ")
        assert (ada.name, ada.rating) == ("Ada", 1000)
        assert ada.created_s > 1_600_000_000
        bea = await profiles.guest(secret(2), "Bea")
        batch = [result(ada.account), result(bea.account, rank=2)]
        assert await profiles.apply_results(batch) == 2
        assert await profiles.apply_results(batch) == 0
    async with Profiles.open(tmp_path / "data" / "p.db") as profiles:
        assert (await profiles.guest(secret(1), "")).account == ada.account
        assert (await profiles.profile(ada.account)).rating == 1016
        assert [row.op_id for row in await profiles.history(bea.account)] == [batch[1].op_id]
        assert [row.name for row in await profiles.leaderboard()] == ["Ada", "Bea"]
        assert [row.name for row in await profiles.leaderboard("wins", 1, "arena")] == ["Ada"]
        assert await profiles.count() == 2


async def test_bad_input_is_refused_before_it_waits(tmp_path: Path) -> None:
    async with Profiles.open(tmp_path / "p.db") as profiles:
        with pytest.raises(ProfileInputError, match="secret"):
            await profiles.guest(b"short", "Ada")
        with pytest.raises(ProfileInputError, match="name"):
            await profiles.guest(secret(1), "x" * 33)
        with pytest.raises(ProfileInputError, match="leaderboard"):
            await profiles.leaderboard("fame")
        with pytest.raises(ProfileInputError, match="limit"):
            await profiles.history("x", 0)
        with pytest.raises(ProfileInputError, match="4096 results"):
            await profiles.apply_results([result("x")] * 4097)
        with pytest.raises(ProfileNotFound):
            await profiles.profile("x")
        assert await profiles.count() == 0


async def test_log_ins_that_wait_together_are_committed_together(tmp_path: Path) -> None:
    commits: list[sa.Connection] = []
    got: dict[int, Profile] = {}
    async with Profiles.open(tmp_path / "p.db") as profiles:
        sa.event.listen(profiles._store.engine, "commit", commits.append)

        async def log_in(number: int) -> None:
            got[number] = await profiles.guest(secret(number % 1000), f"n{number % 1000}")

        async with trio.open_nursery() as nursery:
            for number in range(1500):
                nursery.start_soon(log_in, number)
        assert len(commits) <= 12
        assert await profiles.count() == 1000
    assert all(profile.name == f"n{number % 1000}" for number, profile in got.items())
    assert got[7] == got[1007]


async def test_who_comes_shortly_after_a_commit_waits_for_company(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    commits: list[sa.Connection] = []
    async with Profiles.open(tmp_path / "p.db") as profiles:
        sa.event.listen(profiles._store.engine, "commit", commits.append)
        await profiles.guest(secret(0), "the first does not wait")
        async with trio.open_nursery() as nursery:
            for number in range(1, 9):
                nursery.start_soon(profiles.guest, secret(number), "")
                await trio.testing.wait_all_tasks_blocked()
                assert len(commits) == 1
            mock_clock.jump(COMMIT_EVERY_S)
        assert len(commits) == 2
        mock_clock.jump(COMMIT_EVERY_S)
        await profiles.guest(secret(9), "nor does who comes later")
        assert len(commits) == 3


async def test_results_that_wait_together_are_committed_together_and_counted_apart(tmp_path: Path) -> None:
    commits: list[sa.Connection] = []
    new: dict[int, int] = {}
    async with Profiles.open(tmp_path / "p.db") as profiles:
        ada = await profiles.guest(secret(1), "Ada")
        sa.event.listen(profiles._store.engine, "commit", commits.append)

        async def apply(match: int) -> None:
            new[match] = await profiles.apply_results([result(ada.account, match=match % 20)])

        async with trio.open_nursery() as nursery:
            for match in range(30):
                nursery.start_soon(apply, match)
        assert len(commits) <= 4
        assert sum(new.values()) == (await profiles.profile(ada.account)).matches == 20


async def test_full_queues_answer_busy_and_what_was_accepted_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "COMMIT_EVERY_S", 0.0)
    monkeypatch.setattr(service, "LOGINS_MAX", 3)
    monkeypatch.setattr(service, "RESULTS_MAX", 2)
    monkeypatch.setattr(service, "READS_MAX", 1)
    async with Profiles.open(tmp_path / "p.db") as profiles, trio.open_nursery() as nursery:
        async with _worker_held(profiles):
            for number in range(2):  # taken by the worker, which waits for the thread
                nursery.start_soon(profiles.guest, secret(number), "")
                nursery.start_soon(profiles.apply_results, [result("x", match=number)])
            await trio.testing.wait_all_tasks_blocked()
            for number in range(2, 5):
                nursery.start_soon(profiles.guest, secret(number), "")
            for number in range(2, 4):
                nursery.start_soon(profiles.apply_results, [result("x", match=number)])
            nursery.start_soon(profiles.count)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(ProfileStoreBusy):
                await profiles.guest(secret(5), "")
            with pytest.raises(ProfileStoreBusy):
                await profiles.apply_results([result("x", match=4)])
            with pytest.raises(ProfileStoreBusy):
                await profiles.profile("x")
        while profiles._worker._reads:  # the read that waited is answered, too
            await trio.lowlevel.checkpoint()
        assert await profiles.apply_results([result("x", match=number) for number in range(5)]) == 1
        assert await profiles.count() == 5


async def test_a_cancelled_caller_harms_nobody(tmp_path: Path) -> None:
    async with Profiles.open(tmp_path / "p.db") as profiles:
        async with trio.open_nursery() as nursery, _worker_held(profiles):
            nursery.start_soon(profiles.guest, secret(1), "")
            nursery.start_soon(profiles.count)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        await profiles.guest(secret(2), "")
        assert await profiles.count() == 2
        with trio.CancelScope() as scope:
            scope.cancel()
            await profiles.guest(secret(3), "")
        assert await profiles.count() == 2  # cancelled before it began


@pytest.mark.parametrize("cancelled", [False, True])
async def test_leaving_stores_what_was_accepted_and_then_refuses(tmp_path: Path, cancelled: bool) -> None:
    answers: list[Profile] = []
    async with trio.open_nursery() as callers:
        callers.cancel_scope.deadline = trio.current_time() + 10  # reached only by a call that is never answered

        async def log_in(profiles: Profiles, number: int) -> None:
            answers.append(await profiles.guest(secret(number), ""))

        async def release_when_closed(profiles: Profiles) -> None:
            await trio.testing.wait_all_tasks_blocked()  # so the test itself waits for the store to close
            with pytest.raises(ProfileStoreError, match="closed"):
                await profiles.guest(secret(99), "")
            hold.set()

        hold = threading.Event()
        held = trio.Event()

        def wait_for_release() -> None:
            trio.from_thread.run_sync(held.set)
            hold.wait()

        with trio.CancelScope() as scope:
            async with Profiles.open(tmp_path / "p.db") as profiles:
                callers.start_soon(profiles._worker.run, wait_for_release)
                await held.wait()
                for number in range(5):
                    callers.start_soon(log_in, profiles, number)
                await trio.testing.wait_all_tasks_blocked()
                callers.start_soon(release_when_closed, profiles)
                if cancelled:
                    scope.cancel()
                    await trio.sleep_forever()
    assert len(answers) == 5
    for call in (profiles.count, partial(profiles.guest, secret(9), "")):
        with pytest.raises(ProfileStoreError, match="closed"):
            await call()
    async with Profiles.open(tmp_path / "p.db") as again:
        assert await again.count() == 5


async def test_a_failing_store_answers_every_caller_and_the_worker_lives_on(tmp_path: Path) -> None:
    errors: list[ProfileStoreError] = []
    async with Profiles.open(tmp_path / "p.db") as profiles:
        engine = profiles._store.engine

        def fail(_connection: object) -> None:
            raise sa.exc.OperationalError("COMMIT", None, Exception("the disk went away"))

        async def log_in(number: int) -> None:
            try:
                await profiles.guest(secret(number), "")
            except ProfileStoreError as error:
                errors.append(error)

        sa.event.listen(engine, "commit", fail)
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(log_in, number)
        sa.event.remove(engine, "commit", fail)
        assert ["the disk went away" in str(error) for error in errors] == [True] * 3
        assert len({id(error) for error in errors}) == 3
        assert await profiles.count() == 0
        await profiles.guest(secret(1), "")
        assert await profiles.count() == 1


async def test_an_exception_of_the_body_comes_out_bare(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with Profiles.open(tmp_path / "p.db"):
            raise KeyError("mine")


async def test_opening_a_broken_file_raises_one_line(tmp_path: Path) -> None:
    (tmp_path / "p.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(ProfileStoreError, match=r"p\.db is not a database: move the file away"):
        async with Profiles.open(tmp_path / "p.db"):
            pytest.fail("opened")


def test_the_package_loads_its_engine_only_when_a_store_is_opened() -> None:
    code = (
        "import sys, profiles\n"
        "assert not {'trio', 'attrs', 'sqlalchemy'} & set(sys.modules)\n"
        "profiles.Profiles, profiles.MatchResult\n"
        "assert 'sqlalchemy' not in sys.modules and 'alembic' not in sys.modules\n"
        "from profiles import *\n"
        "try: profiles.nothing\n"
        "except AttributeError: print('fine')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("fine\n", "")
