"""A bot against a server that is played by the test: it comes back to its seat, or says why it could not."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import attrs
import pytest
import trio

import bots.control
from bots.bot import Bot
from bots.control import Identity
from bots.swarm import Swarm
from netcode import messages
from netcode.errors import ErrorCode, LinkClosed, RemoteError
from tests.netcode.queue import InputPacket
from tests.netcode.scripted import KEPT, Stage, board, fatal, frame, listening, seated

AGAIN = attrs.evolve(KEPT, room="r", connection=3, secret=b"T" * 32)


@contextlib.asynccontextmanager
async def bot_at(server: str) -> AsyncIterator[Bot]:
    """A bot that is logged in, with the swarm that it needs."""
    async with trio.open_nursery() as nursery:
        swarm = Swarm()
        await nursery.start(swarm.run)
        bot = Bot(Identity(server, "tcp", None, 1, 0, "bot", b"x" * 32), swarm, full=False)
        async with bot.session():
            yield bot
        nursery.cancel_scope.cancel()


async def ended(bot: Bot) -> Exception:
    """Why the bot's session is over, once it is."""
    while bot.error is None:
        await trio.lowlevel.checkpoint()
    return bot.error


async def until_newest(stage: Stage, least: int) -> InputPacket:
    """The first packet of inputs whose newest is at least this one."""
    while (packet := await stage.inputs()).newest < least:
        pass
    return packet


def oldest(packet: InputPacket) -> int:
    return packet.newest - packet.count + 1


async def lose_seat(stage: Stage) -> None:
    """A server that gives a seat and breaks the connection."""
    await stage.enter(answer=KEPT)
    await stage.grant(seated())
    await stage.inputs()


async def test_inputs_and_events_go_on_where_the_connection_was_lost() -> None:
    packets: list[InputPacket] = []

    async def first(stage: Stage) -> None:
        await stage.enter(answer=KEPT)
        await stage.grant(seated())
        packets.append(await until_newest(stage, 3))
        stage.link.write(frame(101, last_seq=2))
        stage.say(messages.Events(room="r", events=[[101, 7, "skipped", [1, 1, 1]]]))
        while oldest(packet := await stage.inputs()) != 3:
            pass
        packets.append(packet)

    async def second(stage: Stage) -> None:
        resume = await stage.enter(messages.Resume, AGAIN)
        assert (resume.session, resume.secret) == ("s", b"S" * 32)
        assert (resume.event_tick, resume.event_index) == (101, 7)
        stage.say(seated(resumed=True, stream=5, tick=120, last_seq=3))
        stage.say(messages.Events(room="r", events=[[101, 7, "skipped", [1, 1, 1]], [110, 0, "skipped", [1, 9, 9]]]))
        packets.append(await stage.inputs())
        assert packets[-1].stream == 5
        packets.append(await until_newest(stage, packets[-1].newest + 2))
        stage.link.write(frame(121, last_seq=packets[-1].newest, stream=5))
        leave = await stage.hear(messages.Leave)
        stage.say(messages.Left(room="r", seat=1, last_seq=3, applied=3, ref=leave.ref))
        await stage.stay()

    async with listening(first, second) as server, bot_at(server) as bot:
        await bot.join("r")
        while bot.series.frames == 0 and bot.play is not None and bot.play.frames.newest_tick < 121:
            await trio.lowlevel.checkpoint()
        bot.stop_inputs()
        await bot.leave()
        bot.tally()
    assert (oldest(packets[0]), oldest(packets[1])) == (1, 3)
    assert oldest(packets[2]) == 4  # neither one that was applied nor one left out
    assert packets[2].newest >= packets[1].newest
    assert bot.series.reconnects == 1
    assert bot.series.skipped == 2  # each event once
    assert bot.series.acknowledged == packets[3].newest
    assert bot.error is None


@pytest.mark.parametrize("code", [ErrorCode.SESSION_REPLACED, ErrorCode.SESSION_GONE, ErrorCode.BAD_MESSAGE])
async def test_a_final_refusal_is_final(code: ErrorCode) -> None:
    async def play(stage: Stage) -> None:
        await stage.enter(answer=KEPT)
        await stage.grant(seated())
        stage.say(fatal(code))

    async def never(stage: Stage) -> None:
        raise AssertionError("it came back")

    async with listening(play, never) as server, bot_at(server) as bot:
        await bot.join("r")
        error = await ended(bot)
        assert isinstance(error, RemoteError)
        assert error.code is code
        with pytest.raises(RemoteError):
            await bot.leave()


async def test_it_tries_again_until_the_server_takes_it() -> None:
    async def refuse(stage: Stage) -> None:
        await stage.enter(messages.Resume, fatal(ErrorCode.SHUTTING_DOWN))

    async def take(stage: Stage) -> None:
        await stage.enter(messages.Resume, AGAIN)
        stage.say(seated(resumed=True, stream=5))
        await stage.inputs()
        stage.link.write(frame(101, last_seq=1, stream=5))
        await stage.stay()

    async def hang_up(_: Stage) -> None:
        return

    async with listening(lose_seat, hang_up, refuse, take) as server, bot_at(server) as bot:
        await bot.join("r")
        while not bot.series.playing:
            await trio.lowlevel.checkpoint()
        bot.tally()
        assert (bot.series.reconnects, bot.trouble) == (1, None)


@pytest.mark.parametrize("how", ["session", "seat", "late"])
async def test_what_is_gone_is_an_error(how: str) -> None:
    async def play(stage: Stage) -> None:
        if how == "session":
            await stage.enter(messages.Resume, fatal(ErrorCode.SESSION_GONE))
        elif how == "seat":
            await stage.enter(messages.Resume, attrs.evolve(AGAIN, room=""))
        else:
            await stage.enter(messages.Resume, AGAIN)
            stage.say(messages.Error(code=26, name="room_closed", message="closed"))
        await stage.stay()

    async with listening(lose_seat, play) as server, bot_at(server) as bot:
        await bot.join("r")
        error = await ended(bot)
        assert isinstance(error, RemoteError)
        codes = {"session": ErrorCode.SESSION_GONE, "seat": ErrorCode.NOT_SEATED, "late": ErrorCode.ROOM_CLOSED}
        assert error.code is codes[how]


async def test_a_server_that_stays_away_is_the_error_that_began_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bots.control, "RECONNECT_S", 0.1)

    async def play(stage: Stage) -> None:
        await stage.enter(answer=KEPT)
        await stage.grant(seated())
        stage.say(fatal(ErrorCode.SHUTTING_DOWN))

    async with listening(play) as server, bot_at(server) as bot:
        await bot.join("r")
        error = await ended(bot)
        assert isinstance(error, RemoteError)
        assert error.code is ErrorCode.SHUTTING_DOWN


async def test_a_request_fails_with_the_connection_and_nonsense_ends_the_session() -> None:
    async def cut(stage: Stage) -> None:
        await stage.enter(answer=KEPT)
        await stage.hear(messages.ListRooms)

    async def rave(stage: Stage) -> None:
        await stage.enter(messages.Resume, AGAIN)
        stage.link.write(b"\xff\xff\xff\xff")
        await stage.stay()

    async with listening(cut, rave) as server, bot_at(server) as bot:
        with pytest.raises((RemoteError, LinkClosed)):
            await bot.rooms()
        assert "4294967295" in str(await ended(bot))


async def test_a_room_of_objects_is_refused() -> None:
    async def play(stage: Stage) -> None:
        await stage.enter()
        await stage.grant(board())
        await stage.stay()

    async with listening(play) as server, bot_at(server) as bot:
        with pytest.raises(RemoteError, match="bots play games of rows, which board is not"):
            await bot.join("b")


@pytest.mark.parametrize(
    ("games", "asked", "opened"),
    [
        (["zoo", "arena"], "", "arena"),
        (["zoo", "drift"], "", "zoo"),
        ([], "", "arena"),
        (["zoo", "arena"], "zoo", "zoo"),
    ],
)
async def test_rooms_are_of_the_arena_or_the_first_game_or_what_was_asked_for(
    games: list[str], asked: str, opened: str
) -> None:
    told: list[messages.CreateRoom] = []

    async def play(stage: Stage) -> None:
        await stage.enter(answer=attrs.evolve(KEPT, games=games))
        told.append(await stage.hear(messages.CreateRoom))
        stage.say(messages.RoomCreated(room="new", seats=4, ref=told[0].ref))
        await stage.stay()

    async with listening(play) as server, bot_at(server) as bot:
        assert await bot.open_room(asked, {"map": "1"}) == ("new", 4)
    assert (told[0].game, told[0].options) == (opened, {"map": "1"})
