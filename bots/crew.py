"""The bots of one process, through the phases of a run.

    log in (64 at a time, or so many a second) ─► a room for every R bots ─► all play ─► window of S seconds
      ─► no new inputs, ≤ 2 s of waiting for acknowledgements ─► leave, with the server's books ─► Tally

A bot that fails is counted by the kind of its error and the others go on. All the while a heartbeat measures how late
this process' own loop is, so that nobody takes the generator's limit for the server's.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import hashlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs
import trio

from bots.bot import Bot
from bots.control import Identity
from bots.report import Tally
from bots.swarm import Swarm
from netcode.conditions import Conditions
from netcode.errors import NetcodeError, ProtocolError

LOGINS_MAX, LOGINS_MIN = 64, 2
"""Bots that log in at the same time, unless so many a second do; fewer while the loop is late, for they share it with
those who play."""
LATE_S = 0.01
PREDICTING_MAX = 4
"""Full bots of a process that predict their own moves: it costs them 0.1 ms a frame."""
GC_THRESHOLDS = 50_000, 20, 50
"""Frames make many objects that die at once; looking for cycles among them as often as Python does costs a tenth."""
SETTLE_S = 2.0
LEAVE_S = 15.0
HEARTBEAT_S = 0.01
_ERRNO_KINDS = {
    errno.ECONNREFUSED: "connection_refused",
    errno.ECONNRESET: "connection_reset",
    errno.ETIMEDOUT: "timed_out",
    errno.EMFILE: "too_many_open_files",
}


@attrs.frozen(kw_only=True)
class Plan:
    """What a run is told."""

    server: str = "127.0.0.1:7777"
    players: int = 20
    seconds: float = 10.0
    rooms_of: int = 10
    transport: str = "udp"
    full_share: float = 1.0
    seed: int = 1
    trust: str | None = None
    game: str = ""
    """"": the arena, or else the server's first game."""
    options: dict[str, str] = attrs.field(factory=dict)
    link: str = ""
    """Conditions of the link, as `Conditions.parse` takes them."""
    join_per_s: float = 0.0
    """Bots that come in a second, whatever becomes of those before them; 0: LOGINS_MAX at a time."""
    first: int = 0
    """Number of the first player: processes share the players, whole rooms each."""

    def identity(self, player: int) -> Identity:
        """A bot's name and device secret follow from seed and number, so a second run finds the same accounts."""
        secret = hashlib.blake2b(f"holdfast bot {self.seed} {player}".encode(), digest_size=32).digest()
        return Identity(self.server, self.transport, self.trust, self.seed, player, f"bot-{player:04d}", secret)

    def is_full(self, player: int) -> bool:
        """Full clients are spread evenly over all players."""
        return int((player + 1) * self.full_share) > int(player * self.full_share)

    def split(self, processes: int) -> list[Plan]:
        """The same run by several processes, whole rooms each; none gets nothing."""
        rooms = -(-self.players // self.rooms_of)
        processes = min(processes, rooms)
        cuts = [rooms * i // processes * self.rooms_of for i in range(processes)] + [self.players]
        return [
            attrs.evolve(
                self,
                first=self.first + start,
                players=end - start,
                join_per_s=self.join_per_s * (end - start) / self.players,
            )
            for start, end in itertools.pairwise(cuts)
        ]


@attrs.define
class _RoomSlot:
    """A room to be: the first of its bots that gets here opens it."""

    lock: trio.Lock = attrs.field(factory=trio.Lock)
    ids: dict[int, str] = attrs.field(factory=dict)
    seats: int = 0


class Crew:
    """Runs the bots of a plan. `run` is the whole life; the caller waits for `ready`, then sets `go`."""

    def __init__(self, plan: Plan, on_bot: Callable[[Bot], None] = lambda _: None) -> None:
        self.plan = plan
        self._on_bot = on_bot
        self.ready = trio.Event()
        """All bots play, or have failed."""
        self.go = trio.Event()
        self.enough = trio.Event()
        """Set it to end the window before its time."""
        self.done = trio.Event()
        """The window is over."""
        self.bots: list[Bot] = []
        self.playing: list[Bot] = []
        self.tally = Tally()
        self.before: dict[str, Any] | None = None
        self.after: dict[str, Any] | None = None
        """The server's own figures at the two ends of the window, when it tells them."""
        self.measured_s = 0.0
        self.joining_s = 0.0
        """From the first bot's start until all played, or had failed."""
        self._began_at = 0.0
        self._swarm = Swarm(Conditions.parse(plan.link) if plan.link else None)
        self._rooms: dict[int, _RoomSlot] = {}
        self._logins = trio.CapacityLimiter(plan.players if plan.join_per_s else LOGINS_MAX)
        self._waiting = plan.players
        self._leave = trio.Event()
        self._measuring = False

    @property
    def frames(self) -> int:
        """Frames seen in the window so far."""
        return sum(bot.kept.packets for bot in self.bots) + self._swarm.frames

    async def run(self, *, ask_server: bool = False) -> Tally:
        """Play; returns what was measured. `ask_server` takes the server's own figures, too."""
        plan = self.plan
        predicting = 0
        for player in range(plan.first, plan.first + plan.players):
            full = plan.is_full(player)
            predicts = full and predicting < PREDICTING_MAX
            predicting += predicts
            self.bots.append(Bot(plan.identity(player), self._swarm, full=full, predicts=predicts))
            self._on_bot(self.bots[-1])
        with _collecting_less():
            await self._play(ask_server)
        return self._count()

    async def _play(self, ask_server: bool) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self._swarm.run)
            nursery.start_soon(self._heartbeat)
            self._began_at = trio.current_time()
            async with trio.open_nursery() as lives:
                for bot in self.bots:
                    lives.start_soon(self._life, bot)
                await self._window(ask_server)
            nursery.cancel_scope.cancel()

    async def _window(self, ask_server: bool) -> None:
        await self.ready.wait()
        gc.collect()
        gc.freeze()  # what lives until the end need not be looked at by every full collection
        await self.go.wait()
        self.before = await self._stats(1) if ask_server else None
        start = trio.current_time()
        self._swarm.open_window(start)
        for bot in self.bots:
            bot.kept.open(start)
        cpu_s = time.process_time()
        self._measuring = True
        with trio.move_on_at(start + self.plan.seconds):
            await self.enough.wait()
        end = trio.current_time()
        self._measuring = False
        self.tally.cpu_s = time.process_time() - cpu_s
        self._swarm.close_window(end)
        for bot in self.bots:
            bot.series.close(end)
        self.measured_s = end - start
        self.after = await self._stats(max(1, round(self.plan.seconds))) if self.before is not None else None
        self.done.set()
        for bot in self.playing:
            bot.stop_inputs()
        with trio.move_on_after(SETTLE_S):
            while not all(bot.settled for bot in self.playing if bot.alive):  # noqa: ASYNC110 - frames settle it
                await trio.sleep(0.02)
        self._leave.set()

    async def _life(self, bot: Bot) -> None:
        entered, per_s = False, self.plan.join_per_s
        due = self._began_at + (bot.who.player - self.plan.first) / per_s if per_s else 0.0
        await trio.sleep_until(due)
        await self._logins.acquire_on_behalf_of(bot)
        due = due or trio.current_time()
        try:
            async with bot.session():
                await self._take_seat(bot)
                self.tally.joins.add((trio.current_time() - due) * 1000.0)
                self._logins.release_on_behalf_of(bot)
                await self._first_frame(bot)
                entered = True
                self.playing.append(bot)
                self._entered()
                await self._leave.wait()
                if bot.trouble is not None:
                    raise bot.trouble
                with trio.fail_after(LEAVE_S):
                    await bot.leave()
        except Exception as error:
            self.tally.idle += 1
            self.tally.error(*error_kind(error))
        finally:
            bot.tally()
            for kind, count in bot.faults.items():
                self.tally.error(kind, f"{bot.who.name}: {kind.replace('_', ' ')}", count)
            if bot in self._logins.statistics().borrowers:
                self._logins.release_on_behalf_of(bot)
            if not entered:
                self._entered()

    async def _take_seat(self, bot: Bot) -> None:
        number, place = divmod(bot.who.player, self.plan.rooms_of)
        slot = self._rooms.setdefault(number, _RoomSlot())
        async with slot.lock:
            if not slot.seats:
                slot.ids[0], slot.seats = await bot.open_room(self.plan.game, self.plan.options)
            part = place // slot.seats  # a game with fewer seats than bots were to share a room gets more rooms
            if part not in slot.ids:
                slot.ids[part], _ = await bot.open_room(self.plan.game, self.plan.options)
        await bot.join(slot.ids[part])

    async def _first_frame(self, bot: Bot) -> None:
        with trio.move_on_after(5.0 + self.plan.players / 200):
            while not bot.series.playing and bot.alive:  # noqa: ASYNC110 - the series is pure
                await trio.sleep(0.05)
        if bot.error is not None:
            raise bot.error
        if not bot.series.playing:
            raise NoFrames("seated, but no frame came" + (" by UDP" if self.plan.transport == "udp" else ""))

    def _entered(self) -> None:
        self._waiting -= 1
        if not self._waiting:
            self.joining_s = trio.current_time() - self._began_at
            self.ready.set()

    async def _stats(self, window_s: int) -> dict[str, Any] | None:
        """The server's figures, asked by the first bot that can; None from a server elsewhere."""
        for bot in self.playing:
            if bot.alive:
                try:
                    return await bot.stats(window_s)
                except NetcodeError:
                    return None
        return None

    async def _heartbeat(self) -> None:
        due = trio.current_time()
        while True:
            due = max(due + HEARTBEAT_S, trio.current_time())
            await trio.sleep_until(due)
            late_s = trio.current_time() - due
            if self._measuring:
                self.tally.late.add(late_s * 1000.0)
            if not self.plan.join_per_s:
                few, before = late_s > LATE_S, self._logins.total_tokens
                self._logins.total_tokens = max(LOGINS_MIN, before // 2) if few else min(LOGINS_MAX, before + 1)

    def _count(self) -> Tally:
        tally = self.tally
        tally.rooms = sum(len(slot.ids) for slot in self._rooms.values())
        for bot in self.bots:
            tally.add(bot.series, full=bot.full)
            tally.tick_hz = max(tally.tick_hz, bot.tick_hz)
        return tally


class NoFrames(Exception):
    """A bot has a seat and sees nothing."""


def error_kind(error: BaseException) -> tuple[str, str]:
    """Kind (for `errors` of the report) and message of what ended a bot."""
    for one in _leaves(error):
        if isinstance(one, trio.Cancelled):
            continue
        if isinstance(one, ProtocolError):
            return one.code.wire_name, str(one)
        if isinstance(one, OSError) and one.errno in errno.errorcode:
            return _ERRNO_KINDS.get(one.errno or 0, errno.errorcode[one.errno or 0].lower()), str(one)
        if isinstance(one, trio.TooSlowError):
            return "timed_out", "no answer in time"
        name = type(one).__name__
        return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_"), str(one)
    return "cancelled", "cancelled"


def _leaves(error: BaseException) -> Iterable[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        if isinstance(error, OSError) and error.errno is None and error.__cause__ is not None:
            yield from _leaves(error.__cause__)  # trio: "all attempts to connect failed"; the cause says why
        yield error


@contextlib.contextmanager
def _collecting_less() -> Iterator[None]:
    """The garbage collector as bots want it, until the block ends."""
    thresholds = gc.get_threshold()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
