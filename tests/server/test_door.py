"""The door: who comes in, who waits outside, and who is shown out."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from netcode import messages
from netcode.client import connect
from netcode.errors import ErrorCode, RemoteError
from netcode.messages import Message
from profiles import ProfileStoreError
from tests.server.helpers import HANG_S, HOST, Rude, last_frame, playing, refused, rude, running, until

ROOT = Path(__file__).resolve().parents[2]
HELLO = messages.Hello(protocol=1)


async def test_a_ping_is_answered_at_every_stage(tmp_path: Path) -> None:
    async with running(tmp_path) as node, rude(node) as peer:
        peer.say(HELLO, messages.Ping(time_us=1, ref=4))
        pong = await peer.hear(messages.Pong)
        assert (pong.time_us, pong.ref) == (1, 4)
        peer.say(messages.Login(secret=b"z" * 16), messages.Ping(time_us=2))
        await peer.hear(messages.Welcome)
        assert (await peer.hear(messages.Pong)).time_us == 2


async def test_too_many_at_the_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest of those who have not logged in makes way; who is in stays in."""
    monkeypatch.setattr("server.door.HALF_OPEN_MAX", 2)
    async with running(tmp_path) as node, playing(node) as (client, room), rude(node) as one, rude(node) as two:
        async with rude(node) as three:
            await one.ended()
            for peer in (two, three):
                peer.say(HELLO)
                await peer.hear(messages.Hello)
        two.link.close()
        with trio.fail_after(HANG_S):
            while (await client.stats())["half_open"]:
                pass
        assert node.metrics.limits.half_open == 1
        async with connect(node.server):
            await room.next_frame()


async def test_who_falls_silent_is_shown_out_and_the_seat_is_held(tmp_path: Path) -> None:
    # Longer than a busy machine lets all of us, who are one process, wait: nobody else is silent.
    async with running(tmp_path, idle_s=3.0) as node, playing(node) as (_, room), rude(node) as peer:
        await peer.log_in()
        seated = await peer.seat()
        error = await peer.hear(messages.Error)
        assert (error.code, error.fatal) == (ErrorCode.TIMED_OUT.number, True)
        stage = node.host.rooms.by_id[room.info.room].stage
        await until(lambda: stage.batch.rows.seated[0, seated.seat] == 2, room)
        assert node.metrics.sessions_lost == 1


async def test_a_store_that_fails_refuses_the_log_in_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise ProfileStoreError("away")

    async with running(tmp_path) as node, playing(node) as (_, room):
        monkeypatch.setattr("profiles.Profiles.guest", fail)
        with pytest.raises(RemoteError) as caught:
            async with connect(node.server):
                pass
        assert (caught.value.code, caught.value.retryable) == (ErrorCode.INTERNAL, True)
        await room.next_frame()


async def test_a_fault_of_ours_costs_one_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object, request: Message) -> None:
        raise RuntimeError("a bug")

    async with running(tmp_path) as node, playing(node) as (_, room), rude(node) as peer:
        await peer.log_in()
        monkeypatch.setattr("server.listing.Listing.tell", fail)
        peer.say(messages.ListRooms())
        error = await peer.hear(messages.Error)
        assert (error.code, error.fatal) == (ErrorCode.INTERNAL.number, True)
        await peer.ended()
        await room.next_frame()


async def test_figures_are_for_this_machine_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.door.is_loopback", lambda host: host != HOST)
    async with running(tmp_path) as node, connect(node.server) as client:
        with pytest.raises(RemoteError) as caught:
            await client.stats()
        assert caught.value.code is ErrorCode.NOT_ALLOWED


# -- the real process -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(folder: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "holdfast", "serve", "--port", "0", "--data", str(folder), "--log-format", "json"]
    process = subprocess.Popen(
        [*command, *options],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_process_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    with serving(tmp_path) as process, trio.fail_after(HANG_S * 2):
        assert process.stderr is not None
        stderr, log = process.stderr, b""
        while b"node_started" not in log:
            line = await trio.to_thread.run_sync(stderr.readline)
            assert line, log
            log += line
        port = int(log.split(b'"port": ')[1].split(b",")[0])
        async with connect(f"{HOST}:{port}", reconnect=False) as client:
            room = await client.join("arena")
            await room.next_frame()
            os.kill(process.pid, number)
            assert (await refused(last_frame(room))).code is ErrorCode.SHUTTING_DOWN
        rest = await trio.to_thread.run_sync(stderr.read)
        assert await trio.to_thread.run_sync(process.wait) == 0
        assert b"node_stopped" in rest
        assert b"Traceback" not in log + rest


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--game", "nogame"], "unknown game"),
        (["-o", "nothing=1"], "no option 'nothing'"),
        (["--data", __file__], "data folder"),
        (["--host", "192.0.2.1"], "--host"),
        (["--tls-cert", __file__, "--tls-key", __file__], "certificate"),
    ],
)
def test_misuse_is_one_line_and_exit_2(tmp_path: Path, options: list[str], wanted: str) -> None:
    with serving(tmp_path, *options) as process:
        out, err = process.communicate(timeout=HANG_S)
        text = err.decode()
        assert process.returncode == 2, text
        assert (out, text.count("\n")) == (b"", 1), text
        assert wanted in text


async def test_who_is_in_and_silent_has_no_task_and_is_heard_again(tmp_path: Path) -> None:
    async with running(tmp_path) as node, contextlib.AsyncExitStack() as stack:
        before, peers = trio.lowlevel.current_statistics().tasks_living, list[Rude]()
        for number in range(12):
            peers.append(await stack.enter_async_context(rude(node)))
            await peers[-1].log_in(bytes([number]) * 16)
        with trio.fail_after(HANG_S):
            while trio.lowlevel.current_statistics().tasks_living > before + 6:  # the node's own come and go
                await trio.lowlevel.checkpoint()
        for number, peer in enumerate(peers):
            peer.say(messages.Ping(time_us=number))
        for number, peer in enumerate(peers):
            assert (await peer.hear(messages.Pong)).time_us == number
        for peer in peers[:6]:
            peer.link.close()
        with trio.fail_after(HANG_S):
            while node.metrics.sessions_lost < 6:
                await trio.lowlevel.checkpoint()
