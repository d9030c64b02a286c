"""Rooms full of players within one process, for `holdfast bench tick`: a server's parts, and clients to feed them.

    clients (not timed): window ─► input packet ─► sealed ─► 16 sockets ═► the server's socket
                         tick, last input, acks ◄─ opened ◄─ 16 sockets ◄═ the server's socket

The server's side is what a node ticks with: stage, ends, datagrams, journal; without control connections, so its
sessions have no links. The clients open every frame and acknowledge it, and read no view.
"""

from __future__ import annotations

import secrets
import socket
import struct

import numpy as np
import trio

from bots.brain import RandomWalk
from game.api import RowGame
from game.commands import Join, TickCommands
from holdfast.bench.floor import LOOPBACK, SOCKETS
from netcode.frame import ACKS, HAS_ACKS, HEADER
from netcode.inputs import InputWindow
from netcode.mmsg import address_token, make_batch
from netcode.realtime import ClientEnd
from netcode.seal import Suite
from netcode.sequence import widen
from netcode.server_end import ServerEnd
from netcode.session import Session, SessionTable
from server.datagrams import RECEIVED_MAX, Datagrams, grow_buffers
from server.metrics import Metrics
from server.row_stage import RowStage

SUITE = Suite.AES_256_GCM
AT_ONCE = 128
"""Datagrams of clients between two looks of the server at its socket."""
PROOF_ROUNDS = 50
_CODES = {"u1": "B", "i1": "b", "u2": "H", "i2": "h", "u4": "I", "i4": "i"}


class Player:
    """The client's side of a seat."""

    def __init__(self, number: int, end: ClientEnd, stage: RowStage, stream: int, sock: socket.socket) -> None:
        game = stage.game
        self.end, self.socket = end, sock
        self._stream = stream
        self._window = InputWindow(0)
        self._brain = RandomWalk(1, number, game.inputs, game.tick_hz)
        self._wanted = {field.name: max(field.low, min(0, field.high)) for field in game.inputs}
        self._packed = struct.Struct("<" + "".join(_CODES[field.dtype] for field in game.inputs))
        self._tick, self._read = int(stage.batch.rows.tick[0]), False

    def say(self, now: float) -> bytes:
        """The datagram of the next input."""
        self._wanted.update(self._brain.decide())
        if not self._window.full:
            self._window.add(self._packed.pack(*self._wanted.values()))
        baseline = self._tick if self._read else -1
        return self.end.seal_input(self._window.packet(self._stream, self.end.acks.ack, baseline, self._tick), now)

    def read(self, frame: bytes, now: float) -> None:
        """Acknowledge a frame, and take what it acknowledges."""
        flags, _, _, tick, _, last_seq, _ = HEADER.unpack_from(frame)
        self._tick, self._read = widen(tick, 16, self._tick), True
        self._window.acknowledge(widen(last_seq, 16, self._window.acknowledged))
        if flags & HAS_ACKS:
            low, bits = ACKS.unpack_from(frame, HEADER.size)
            self.end.acknowledged(low, bits, now)


class FullHouse:
    """Rooms of a game in one stage, every seat taken by a session whose path is proven. `close` it in the end."""

    def __init__(self, game: RowGame, rooms: int) -> None:
        self.stage, self.metrics = RowStage(game), Metrics()
        self.in_bytes = self.out_bytes = self.heard = 0
        """Bytes of the datagrams of all inputs and frames so far, and how many frames came."""
        self._sockets = [_bound() for _ in range(SOCKETS + 1)]
        self._address = address_token(self._sockets[0].getsockname())
        self._inbox, self._outbox = make_batch(RECEIVED_MAX), make_batch(AT_ONCE)
        sessions = SessionTable(rooms * game.seats)
        self.datagrams = Datagrams(self._sockets[0], sessions, self.metrics)
        self.players = self._seated(game, rooms, sessions)
        self._by_connection = {player.end.connection: player for player in self.players}

    def _seated(self, game: RowGame, rooms: int, sessions: SessionTable) -> list[Player]:
        stage, batch = self.stage, self.stage.batch
        names = [f"room{number}" for number in range(rooms)]
        for number, name in enumerate(names):
            batch.open(name, number + 1)
            stage.epochs[name] = 1
        accounts = [(name, f"{name}-{seat}") for name in names for seat in range(game.seats)]
        joins = tuple(Join(name, account, "", account) for name, account in accounts)
        seated = stage.step(TickCommands(np.zeros(0, batch.input_record), joins)).seated
        players, path_key, now = [], secrets.token_bytes(32), trio.current_time()
        for number, (one, (_, account)) in enumerate(zip(seated, accounts, strict=True)):
            keys = secrets.token_bytes(32), secrets.token_bytes(32)
            end = ServerEnd(secrets.randbits(64), *keys, path_key, SUITE)
            session = Session(account, account, "", b"", end, now, now)
            sessions.add(session)
            session.seat = occupant = stage.occupy(session, one.room, one.seat, one.generation)
            client = ClientEnd(end.connection, *keys, SUITE)
            players.append(Player(number, client, stage, occupant.stream, self._sockets[1 + number % SOCKETS]))
        return players

    def prove_paths(self) -> None:
        """Probe and challenge until datagrams pass both ways for everybody."""
        for _ in range(PROOF_ROUNDS):
            waiting = [player for player in self.players if not player.end.proven]
            if not waiting:
                return
            for at in range(0, len(waiting), AT_ONCE // 8):
                now = trio.current_time() + 1.0  # a probe is due however short ago the last one was
                self._send([(p, packet) for p in waiting[at : at + AT_ONCE // 8] if (packet := p.end.due(now))])
                self.receive()
                self.hear()
                self.receive()
                self.hear()
        raise RuntimeError("no datagrams pass on loopback")

    def say(self) -> None:
        """Everybody sends an input; the server looks at its socket in between, as it does between ticks."""
        now = trio.current_time()
        for at in range(0, len(self.players), AT_ONCE):
            said = [(player, player.say(now)) for player in self.players[at : at + AT_ONCE]]
            self.in_bytes += sum(len(packet) for _, packet in said)
            self._send(said)
            self.receive()

    def receive(self) -> None:
        """The server takes all that has come."""
        while self.datagrams.receive() == RECEIVED_MAX:
            pass

    def hear(self) -> None:
        """The clients take all that has come."""
        now, replies = trio.current_time(), []
        for sock in self._sockets[1:]:
            while came := self._inbox.receive(sock):
                for packet, _ in came:
                    player = self._by_connection[int.from_bytes(packet[1:9], "little")]
                    frame, reply = player.end.receive(packet, now)
                    if frame is not None:
                        player.read(frame, now)
                        self.out_bytes += len(packet)
                        self.heard += 1
                    if reply is not None:
                        replies.append((player, reply))
        self._send(replies)

    def _send(self, packets: list[tuple[Player, bytes]]) -> None:
        for sock in self._sockets[1:]:
            mine = [packet for player, packet in packets if player.socket is sock]
            if mine:
                self._outbox.send(sock, mine, [self._address] * len(mine))

    def close(self) -> None:
        """Close all sockets."""
        for sock in self._sockets:
            sock.close()


def _bound() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    grow_buffers(sock)
    sock.bind((LOOPBACK, 0))
    return sock
