"""`Profiles`: the store as the server sees it, asynchronous.

    callers --> waiting logins  (LOGINS_MAX)  --\\
            --> waiting results (RESULTS_MAX) ---+--> one worker thread --> Store --> one commit for all
            --> reads           (READS_MAX)   --/

A commit costs about the same for one and for a hundred, so calls that wait together are stored together, and who
comes less than COMMIT_EVERY_S after the last commit waits for company.
Each queue that is full has one outcome: ProfileStoreBusy, at once. A caller that is cancelled stops
waiting; what it asked for is still carried out, which does no harm: a log-in can be repeated, a result
applies once. Leaving `open` takes no more calls, stores all that was accepted, even when cancelled, and
closes the file.
"""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from copy import copy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs
import trio

from profiles.model import (
    LeaderboardRow,
    MatchResult,
    MatchRow,
    Profile,
    ProfileInputError,
    ProfileStoreBusy,
    ProfileStoreError,
    check_query,
    clean_name,
    device_hash,
)

if TYPE_CHECKING:
    from profiles.store import Store

LOGINS_MAX = 8192  # waiting calls of guest()
RESULTS_MAX = 256  # waiting calls of apply_results()
RESULTS_PER_CALL_MAX = 4096
READS_MAX = 1024  # waiting calls of all the others
_LOGINS_PER_COMMIT_MAX = 256  # about 20 ms
_CALLS_PER_COMMIT_MAX = 16
COMMIT_EVERY_S = 0.02
"""A commit takes a millisecond of Python in a thread: of five hundred log-ins a second each with its own that would be
half of a core, beside the game."""

T = TypeVar("T")
Item = TypeVar("Item")
Answer = TypeVar("Answer")


@attrs.define(eq=False)
class Profiles:
    """Opened by `Profiles.open`. Every method raises ProfileStoreError when the store fails, ProfileStoreBusy
    when it is overloaded, ProfileInputError for a value against the rules.
    """

    _store: "Store"
    _worker: "_Worker"
    _logins: "_GroupCommit[tuple[bytes, str], Profile]"
    _results: "_GroupCommit[Sequence[MatchResult], int]"

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path) -> AsyncIterator["Profiles"]:
        """Opens the SQLite file at `path`, made with its folder when missing, and migrates it.

        Raises ProfileStoreError, one line: a folder that cannot be written, a file that is broken, another
        program's, or from a newer version.
        """
        worker = _Worker()
        store = await worker.run(partial(_open_store, path))
        logins: _GroupCommit[tuple[bytes, str], Profile] = _GroupCommit(
            lambda items: store.guests(items, time.time()), worker, LOGINS_MAX, _LOGINS_PER_COMMIT_MAX
        )
        results: _GroupCommit[Sequence[MatchResult], int] = _GroupCommit(
            lambda items: store.apply(items, time.time()), worker, RESULTS_MAX, _CALLS_PER_COMMIT_MAX
        )
        failure: Exception | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(logins.run)
                nursery.start_soon(results.run)
                try:
                    yield cls(store, worker, logins, results)
                except Exception as error:  # raised again below: bare, not in the nursery's group
                    failure = error
                finally:
                    logins.close()
                    results.close()
        finally:
            with trio.CancelScope(shield=True):
                await worker.close(store.close)
        if failure is not None:
            raise failure

    async def guest(self, secret: bytes, name: str) -> Profile:
        """Logs in by device secret (16 to 64 bytes), registering it when unknown. The same secret is the
        same account.

        `name` is the display name: taken when it is valid and differs, "" keeps the one there is.
        """
        return await self._logins.submit((device_hash(secret), clean_name(name)))

    async def profile(self, account: str) -> Profile:
        """Raises ProfileNotFound."""
        return await self._worker.read(partial(self._store.profile, account))

    async def apply_results(self, results: Sequence[MatchResult]) -> int:
        """Applies all results in one transaction, each operation id once for ever; returns how many were new.

        At most RESULTS_PER_CALL_MAX. A result of an unknown account is recorded, counts as new and changes
        no profile.
        """
        if len(results) > RESULTS_PER_CALL_MAX:
            raise ProfileInputError(f"at most {RESULTS_PER_CALL_MAX} results a call, not {len(results)}")
        return await self._results.submit(tuple(results))

    async def history(self, account: str, limit: int = 20) -> list[MatchRow]:
        """The account's matches, the newest first; none for an unknown account. `limit` is 1 to 1000."""
        check_query(limit)
        return await self._worker.read(partial(self._store.history, account, limit))

    async def leaderboard(
        self, board: str = "rating", limit: int = 10, game: str | None = None
    ) -> list[LeaderboardRow]:
        """The first `limit` (1 to 1000) by "rating", "xp", "wins" or "best" (score), over all games or
        one."""
        check_query(limit, board)
        return await self._worker.read(partial(self._store.leaderboard, board, limit, game))

    async def count(self) -> int:
        """How many accounts there are."""
        return await self._worker.read(self._store.count)


def _open_store(path: Path) -> "Store":
    from profiles.store import (
        Store,
    )  # SQLAlchemy takes a quarter of a second to import: here, in the worker thread

    return Store.open(path)


@attrs.define(eq=False)
class _Worker:
    """One call at a time, each in a thread and never abandoned there, in the order of asking."""

    _limiter: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))
    _closed: bool = False
    _reads: int = 0  # asked for, not yet answered

    async def run(self, call: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(call, limiter=self._limiter, abandon_on_cancel=False)

    async def read(self, call: Callable[[], T]) -> T:
        if self._closed:
            raise ProfileStoreError("the profile store is closed")
        if self._reads >= READS_MAX:
            raise ProfileStoreBusy("too many profile queries are waiting: try again a little later")
        self._reads += 1
        try:
            return await self.run(call)
        finally:
            self._reads -= 1

    async def close(self, last_call: Callable[[], None]) -> None:
        self._closed = True
        await self.run(last_call)  # behind every read that was accepted: the limiter is first come, first served


@attrs.define(eq=False)
class _Job(Generic[Item, Answer]):
    item: Item
    done: trio.Event = attrs.field(factory=trio.Event)
    answers: list[Answer] = attrs.field(factory=list)  # one, once done without an error
    error: Exception | None = None


class _GroupCommit(Generic[Item, Answer]):
    """Hands all items that wait together to one call of `commit`, which answers each or raises for all."""

    def __init__(
        self, commit: Callable[[list[Item]], list[Answer]], worker: _Worker, waiting_max: int, group_max: int
    ) -> None:
        self._commit = commit
        self._worker = worker
        self._group_max = group_max
        self._closed = False
        self._send: trio.MemorySendChannel[_Job[Item, Answer]]
        self._receive: trio.MemoryReceiveChannel[_Job[Item, Answer]]
        self._send, self._receive = trio.open_memory_channel[_Job[Item, Answer]](waiting_max)

    async def submit(self, item: Item) -> Answer:
        await trio.lowlevel.checkpoint_if_cancelled()
        job: _Job[Item, Answer] = _Job(item)
        try:
            self._send.send_nowait(job)
        except trio.WouldBlock:
            raise ProfileStoreBusy("too much is waiting for the profile store: try again a little later") from None
        except trio.ClosedResourceError:
            raise ProfileStoreError("the profile store is closed") from None
        await job.done.wait()
        if job.error is not None:
            raise copy(job.error) from job.error  # a copy: several callers raise it, each with its own traceback
        return job.answers[0]

    def close(self) -> None:
        """Takes no more; `run` ends when all that was accepted is answered."""
        self._send.close()

    async def run(self) -> None:
        # Shielded as a whole: it ends by `close`, never in the middle of what was accepted.
        with trio.CancelScope(shield=True):
            next_at = trio.current_time()
            async for first in self._receive:
                if trio.current_time() < next_at:
                    await trio.sleep_until(next_at)
                group = [first]
                while len(group) < self._group_max:
                    try:
                        group.append(self._receive.receive_nowait())
                    except (trio.WouldBlock, trio.EndOfChannel):
                        break
                await self._run_group(group)
                next_at = trio.current_time() + COMMIT_EVERY_S

    async def _run_group(self, group: list[_Job[Item, Answer]]) -> None:
        items = [job.item for job in group]
        try:
            answers = await self._worker.run(partial(self._commit, items))
        except Exception as error:  # each caller gets it; the worker lives on
            for job in group:
                job.error = error
        else:
            for job, answer in zip(group, answers, strict=True):
                job.answers.append(answer)
        for job in group:
            job.done.set()
