from __future__ import annotations

import socket
import struct
import threading
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest

from benchmarks.peers.dialects import DIALECTS
from benchmarks.peers.swarm import Player, Swarm, intervals_s
from benchmarks.peers.wire import BINARY, PING, PONG, WireError

ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
PLAIN = DIALECTS["plain"]


@pytest.mark.parametrize(
    ("arrivals", "closed_at", "intervals"),
    [
        ([], 9.0, []),
        ([1.0], 1.5, [0.5]),
        ([1.0, 1.05, 1.1], 1.12, [0.05, 0.05]),
        ([1.0, 1.05, 1.1], 9.0, [0.05, 0.05, 7.9]),
    ],
)
def test_silence_at_the_end_counts_as_an_interval(
    arrivals: list[float], closed_at: float, intervals: list[float]
) -> None:
    assert np.allclose(intervals_s(array("d", arrivals), closed_at), intervals)


@pytest.mark.parametrize("count", [200, 1000, 1990])
def test_one_in_twenty_is_a_full_client_and_they_sit_at_all_seats(count: int) -> None:
    full = [index for index in range(count) if Player.is_full(index)]
    assert len(full) >= count // 20
    assert {index % 10 for index in full} == set(range(10))


def framed(payload: bytes, opcode: int = BINARY) -> bytes:
    return bytes([0x80 | opcode, len(payload)]) + payload


def place(tick: int, x: int, seq: int) -> bytes:
    """A frame of a room with one player."""
    return framed(struct.pack("<IHHBH", tick, x, 0, 0, seq))


class Room:
    """A server for one player that says what it is told to, over a real socket; `heard` are the player's messages."""

    def __init__(self, answer: bytes) -> None:
        self.heard: list[tuple[int, bytes]] = []
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._here = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        self._player, _ = self._listener.accept()
        asked = b""
        while not asked.endswith(b"\r\n\r\n"):
            asked += self._player.recv(4096)
        self._player.sendall(self._answer)
        self._here.set()
        with self._player.makefile("rb") as stream, suppress(ConnectionResetError):
            while head := stream.read(2):
                size = head[1] & 0x7F
                key, body = stream.read(4), stream.read(size)
                plain = bytes(byte ^ key[at % 4] for at, byte in enumerate(body))
                self.heard.append((head[0] & 0x0F, plain))

    def say(self, data: bytes) -> None:
        assert self._here.wait(10)
        self._player.sendall(data)

    def hang_up(self) -> None:
        assert self._here.wait(10)
        self._player.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._thread.join(10)
        self._player.close()
        self._listener.close()


@contextmanager
def playing(answer: bytes = ACCEPTED + framed(bytes([0]))) -> Iterator[tuple[Room, Swarm]]:
    room = Room(answer)
    swarm = Swarm(room.port, PLAIN)
    try:
        yield room, swarm
    finally:
        swarm.leave()
        room.close()


def report_of(swarm: Swarm) -> dict[str, Any]:
    swarm.close()
    return swarm.report()


def test_frames_of_the_window_are_counted_and_inputs_answered() -> None:
    with playing() as (room, swarm):
        swarm.join(1)
        swarm.prepare(0.25)
        room.say(place(1, 0, 0))
        swarm.play(0.05)
        swarm.open()
        swarm.play(0.05)
        room.say(place(2, 64, 1) + framed(b"hello", PING) + place(3, 128, 2)[:5])
        swarm.play(0.05)
        room.say(place(3, 128, 2)[5:])
        swarm.play(0.05)
        report = report_of(swarm)
    assert report["frames"] == 2
    assert report["bytes_per_frame"] == 2 + 11
    assert report["moved_per_frame"] == 1.0
    assert report["frames_by_players"] == {1: 2}
    assert report["input_rtt_ms"]["p50"] > 0, "input 2 was sent in the window"
    assert report["errors"] == {}
    assert report["could_not_play"] == 0
    assert (PONG, b"hello") in room.heard
    inputs = [message for opcode, message in room.heard if opcode == BINARY]
    assert inputs == [PLAIN.input(0, seq) for seq in range(1, 5)]


def test_a_player_whose_server_hangs_up_is_an_error_of_the_run() -> None:
    with playing() as (room, swarm):
        swarm.join(1)
        swarm.prepare(0.1)
        swarm.open()
        room.hang_up()
        swarm.play(0.05)
        report = report_of(swarm)
    assert report["errors"] == {"closed": 1}
    assert report["could_not_play"] == 1
    assert report["frames_per_s"]["min"] == 0.0


def test_a_server_that_refuses_is_told() -> None:
    with playing(b"HTTP/1.1 503 Full\r\n\r\n") as (_, swarm), pytest.raises(WireError, match="503"):
        swarm.join(1)
