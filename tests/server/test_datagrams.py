"""The UDP socket of a node: who is found, what is dropped, and when frames may go that way."""

from __future__ import annotations

import math
import socket
from collections.abc import Iterator
from pathlib import Path

import attrs
import numpy as np
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from netcode.packed import packed
from netcode.realtime import ClientEnd
from netcode.seal import Suite
from netcode.server_end import SLOT_BITS, Channel, ServerEnd
from netcode.session import Session, SessionTable
from server.datagrams import RECEIVE_EVERY_S, RECEIVED_MAX, Datagrams
from server.metrics import Metrics
from server.stage import Frames
from tests.server.helpers import HOST, Rig, datagram, until


@attrs.frozen
class Pair:
    """A node's datagrams and one client's socket, with a session that both know."""

    datagrams: Datagrams
    sock: socket.socket
    client: ClientEnd
    session: Session
    metrics: Metrics


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    rig = Rig(tmp_path)
    table = SessionTable(10, rig.metrics.drops)
    session, _ = rig.session(7)
    session.end = ServerEnd(7 << SLOT_BITS, bytes(32), bytes(32), bytes(32), Suite.AES_256_GCM)
    table.add(session)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        server.bind((HOST, 0))
        client.connect(server.getsockname())
        client.setblocking(False)
        yield Pair(
            Datagrams(server, table, rig.metrics),
            client,
            ClientEnd(session.end.connection, bytes(32), bytes(32)),
            session,
            rig.metrics,
        )


async def test_a_path_is_proven_and_inputs_choose_it(pair: Pair) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.datagrams.run)
        probe = pair.client.due(0.0)
        assert probe is not None
        pair.sock.send(probe)
        _, proof = pair.client.receive(await datagram(pair.sock), 0.0)
        assert proof is not None
        before = pair.session.end.path
        assert before is None
        pair.sock.send(proof)
        pair.client.receive(await datagram(pair.sock), 0.0)
        assert pair.client.proven
        path = pair.session.end.path
        assert path is not None
        assert pair.session.end.channel is Channel.UNKNOWN
        pair.sock.send(pair.client.seal_input(b"", 0.0))
        await until(lambda: pair.session.end.channel is Channel.DATAGRAM)
        pair.datagrams.send_frames(frame_for(pair, b"f" * 20))
        assert pair.client.receive(await datagram(pair.sock), 0.0)[0] == b"f" * 20
        nursery.cancel_scope.cancel()


async def test_a_seat_that_is_only_asked_for_takes_no_inputs(pair: Pair) -> None:
    pair.session.joining = "join id"
    pair.sock.send(pair.client.seal_input(b"early", 0.0))
    with trio.fail_after(5):
        while not pair.datagrams.receive():
            await trio.lowlevel.checkpoint()
    assert pair.metrics.inputs_malformed == 0
    assert pair.session.end.channel is Channel.UNKNOWN  # nobody knows yet whether datagrams reach the player


async def test_strangers_are_counted_and_not_answered(pair: Pair) -> None:
    stranger = ClientEnd(8, bytes(32), bytes(32))
    packets = [b"", b"x" * 26, b"x" * 27, stranger.seal_input(b"", 0.0)]
    for packet in (b"x" * 1300, *packets):
        pair.sock.send(packet)
    with trio.fail_after(5):
        while pair.metrics.drops.unknown < len(packets):
            pair.datagrams.receive()
            await trio.lowlevel.checkpoint()
    assert pair.metrics.drops.unknown == len(packets)
    with pytest.raises(BlockingIOError):
        pair.sock.recv(100)


async def test_a_flood_lets_others_run(pair: Pair) -> None:
    for _ in range(3 * RECEIVED_MAX):
        pair.sock.send(b"flood")
    passes = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.datagrams.run)
        with trio.fail_after(5):
            while pair.metrics.drops.unknown < 3 * RECEIVED_MAX:
                await trio.lowlevel.checkpoint()
                passes += 1
        nursery.cancel_scope.cancel()
    assert passes >= 3
    await wait_all_tasks_blocked()


async def test_ticks_drain_the_socket_and_nobody_else_while_they_follow_each_other(
    pair: Pair, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is something to receive all the time."""
    datagrams, start, due, passes = pair.datagrams, trio.current_time(), math.inf, list[float]()
    drain = datagrams.receive

    def receive() -> int:
        passes.append(round((trio.current_time() - start) * 1000))
        return drain()

    monkeypatch.setattr(datagrams, "receive", receive)
    monkeypatch.setattr(datagrams, "_due", lambda: due)
    monkeypatch.setattr(datagrams, "_pause_s", RECEIVE_EVERY_S)

    async def tick(every_s: float, left: bool) -> None:
        nonlocal due
        due = trio.current_time() + every_s
        await trio.sleep_until(due)
        drain()
        datagrams._more = left
        pair.sock.send(b"x" * 27)
        due += every_s

    async with trio.open_nursery() as nursery:
        pair.sock.send(b"x" * 27)
        nursery.start_soon(datagrams.run)
        for _ in range(4):
            await tick(0.05, left=False)
        assert passes == [0], "the first, before any tick"
        await tick(0.05, left=True)
        await tick(0.05, left=False)
        assert passes == [0, 280], "what a tick has left is not left to the next"
        passes.clear()
        await tick(0.1, left=False)
        assert passes == [330], "a tick that is far"
        nursery.cancel_scope.cancel()


async def test_a_datagram_that_is_too_long_does_not_end_the_draining(pair: Pair) -> None:
    """A batch that it was cut out of is as full as any."""
    pair.sock.send(b"long" * 400)
    for _ in range(RECEIVED_MAX + 10):
        pair.sock.send(b"flood")
    assert pair.datagrams.receive() == RECEIVED_MAX
    assert pair.datagrams._more
    assert pair.datagrams.receive() == 11
    assert (pair.metrics.datagrams_truncated, pair.metrics.drops.unknown) == (1, RECEIVED_MAX + 10)


def frame_for(pair: Pair, plaintext: bytes) -> Frames:
    """One frame for the session."""
    end = pair.session.end
    return Frames(np.array([end.slot]), np.array([end.connection], np.uint64), packed([plaintext]))
