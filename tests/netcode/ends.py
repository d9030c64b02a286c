"""Both ends of a session in memory, and a room that is seen over a bad link."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from game.api import Column, Input, RowGame
from game.batch import Batch
from game.commands import Join, TickCommands
from game.rows import Rows
from netcode.ends import ServerEnds
from netcode.frame import ACKS, HAS_ACKS, HEADER, FrameDecoder, FrameEncoder, Readers
from netcode.packed import packed
from netcode.realtime import ClientEnd
from netcode.seal import DropCounters, Suite
from netcode.server_end import SLOT_BITS, Channel, ServerEnd

KEY_UP, KEY_DOWN, PATH_KEY = b"u" * 32, b"d" * 32, b"p" * 32
HOME, AWAY = b"\x02home", b"\x02away"


class Drift(RowGame):
    """Numbers that change in all ways: slowly, at random, in leaps, and not at all."""

    name, version, seats = "drift", 1, 3
    columns = (
        Column("x", "i4", per="seat", see="all", shift=4, exact=True),
        Column("angle", "u2", per="seat", see="all"),
        Column("things", "i2", per=40, see="all"),
        Column("score", "u4", see="all"),
        Column("ammo", "u1", per="seat", see="own"),
        Column("quiet", "i1", per="seat", see="all"),
    )
    inputs = (Input("go", "i1", -1, 1),)

    def step(self, rooms: Rows) -> None:
        tick = rooms.tick[:, None].astype(np.int64)
        seats = np.arange(self.seats)
        rooms.x[:] = (rooms.seed[:, None].astype(np.int64) % 1000 + tick * 37 + seats * 1000).astype(np.int32)
        rooms.angle[:] = (tick * 5000 + seats).astype(np.uint16)
        rooms.things[:] = np.where((tick + np.arange(40)) % 7 == 0, tick * 3, rooms.things).astype(np.int16)
        rooms.score[:] = (rooms.tick * np.uint32(3_000_000_000 // 1000)).astype(np.uint32)
        rooms.ammo[:] = (255 - tick + seats).astype(np.uint8)


class Watched:
    """Rooms of a game and what each tick of theirs really looked like, per (room, seat)."""

    def __init__(self, rooms: dict[str, int]) -> None:
        self.game = Drift()
        self.batch = Batch(self.game)
        self.encoder = FrameEncoder(self.batch)
        self.truth: dict[tuple[str, int, int], tuple[list[int], list[int]]] = {}
        for room, seed in rooms.items():
            self.open(room, seed)

    def open(self, room: str, seed: int, tick: int = 0) -> None:
        self.batch.open(room, seed)
        self.batch.rows.tick[self.batch.row[room]] = tick

    def tick(self) -> None:
        joins = tuple(
            Join(room, f"account-{seat}", "", f"{room}-{seat}")
            for room in self.batch.ids
            for seat in range(self.game.seats)
            if self.batch.ledger(room).players[seat] is None
        )
        result = self.batch.step(TickCommands(np.zeros(0, self.batch.input_record), joins))
        assert not result.failed
        self.encoder.push()
        shared, own = self.encoder._viewer.shared(self.batch.rows), self.encoder._viewer.own(self.batch.rows)
        for row, room in enumerate(self.batch.ids):
            for seat in range(self.game.seats):
                at = (room, seat, int(self.batch.rows.tick[row]))
                self.truth[at] = (_wire(self, "shared", shared[row]), _wire(self, "own", own[row, seat]))

    def frames(self, readers: list[tuple[str, int, int]], **fields: Any) -> list[bytes]:
        """A frame for each (room, seat, baseline)."""
        zeros = np.zeros(len(readers), np.int64)
        rows = np.array([self.batch.row[room] for room, _, _ in readers], np.int64)
        seats = np.array([seat for _, seat, _ in readers], np.int64)
        baselines = np.array([baseline for _, _, baseline in readers], np.int64)
        several = {name: zeros + fields.get(name, 0) for name in ("streams", "epochs", "depths")}
        return self.encoder.encode(Readers(rows, seats, baselines, **several)).strings()

    def decoder(self, room: str, **fields: Any) -> FrameDecoder:
        """A client that was seated at the room's present tick."""
        start = {"stream": 0, "epoch": 0, "tick": self.batch.tick_of(room), "last_seq": 0, **fields}
        return FrameDecoder(self.encoder.layout, **start)


def _wire(watched: Watched, part: str, values: np.ndarray) -> list[int]:
    found: list[int] = values.tolist()
    for field in getattr(watched.encoder.layout, part):
        if not field.signed:
            for at in range(field.start, field.start + field.count):
                found[at] %= 1 << field.bits
    return found


def ends(suite: Suite = Suite.AES_256_GCM, connection: int = 77) -> tuple[ClientEnd, ServerEnd, DropCounters]:
    """A client's and a server's end of one session; nothing was said yet."""
    drops = DropCounters()
    server = ServerEnd(connection << SLOT_BITS, KEY_UP, KEY_DOWN, PATH_KEY, suite)
    ServerEnds(drops).open(server, None)
    return ClientEnd(server.connection, KEY_UP, KEY_DOWN, suite), server, drops


def live_path(server: ServerEnd, now: float) -> bytes | None:
    """Where frames go now; None where they cannot go by datagram."""
    server.channel = Channel.DATAGRAM
    goes = server.ends.by_datagram(np.array([server.slot]), np.array([9]), now)[0]
    return server.path if goes else None


def seal_frame(server: ServerEnd, frame: bytes, now: float) -> bytes:
    """The datagram for one frame, with acknowledgements when their turn has come."""
    slots = np.array([server.slot])
    server.channel = Channel.DATAGRAM
    if (acks := server.ends.take_acks(slots, now).string(0)) != b"":
        frame = with_acks(frame, ACKS.unpack(acks))
    (datagram,) = server.ends.seal_frames(slots, packed([frame])).strings()
    return datagram


def with_acks(frame: bytes, ack: tuple[int, int]) -> bytes:
    """The same frame, carrying acknowledgements of the client's datagrams."""
    return bytes([frame[0] | HAS_ACKS]) + frame[1 : HEADER.size] + ACKS.pack(*ack) + frame[HEADER.size :]


def prove(client: ClientEnd, server: ServerEnd, address: bytes = HOME, now: float = 0.0) -> None:
    """Walk through probe, challenge, proof and keep-alive."""
    probe = client.due(now)
    assert probe is not None
    _, challenge = server.receive(probe, address, now)
    assert challenge is not None
    _, proof = client.receive(challenge, now)
    assert proof is not None
    _, keepalive = server.receive(proof, address, now)
    assert keepalive is not None
    client.receive(keepalive, now)


def ack_of(server: ServerEnd) -> tuple[int, int]:
    """What a frame says of the client's datagrams."""
    ends, slot = server.ends, server.slot
    return int(ends.highest[slot]) & 0xFFFF, int(ends.window[slot, 0]) >> 1 & 0xFFFFFFFF


class BadLink:
    """Datagrams that are lost, doubled and overtaken, the same way for the same seed."""

    def __init__(self, seed: int, loss: float = 0.2) -> None:
        self._chance = random.Random(seed)
        self._loss = loss
        self._waiting: list[Any] = []

    def send(self, item: Any) -> None:
        if self._chance.random() >= self._loss:
            self._waiting.append(item)
            if self._chance.random() < 0.1:
                self._waiting.append(item)

    def arrived(self) -> list[Any]:
        """What comes out now, in any order."""
        self._chance.shuffle(self._waiting)
        count = self._chance.randint(0, len(self._waiting))
        out, self._waiting = self._waiting[:count], self._waiting[count:]
        return out
