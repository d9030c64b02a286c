"""Inputs on their way: the packet that a client sends each tick, the window it repeats, the queue that the
server takes from.

     0      1       2            8        10     12         14     15
    +------+-------+------------+--------+------+----------+------+-------------------------------+
    |flags |stream |acks u16 u32|baseline|seen  |newest seq|count |count inputs, newest first     |
    |u8    |u8     |            |u16     |u16   |u16       |u8    |(the game's packed input each) |
    +------+-------+------------+--------+------+----------+------+-------------------------------+

    flags     1: `baseline` is valid (a frame was read)
    stream    the seat that is meant, as in frames
    baseline  low bits of the tick of the newest frame read: what the server may encode deltas against
    seen      low bits of the tick that the player saw when it made the newest input (for lag compensation)

A packet has one `seen`, for its newest input. A client makes one input a tick, so the tick that the player saw when
it made the input `n` before that is taken to be `n` ticks earlier: exact while frames and inputs keep their pace,
within the frames that were lost or bunched otherwise. (Without this a repeated input would claim to have seen what
its player could not, and hit where the others were later.)

Every packet repeats all inputs which the server has not acknowledged, so a lost packet costs nothing. The
server applies each sequence once and in order, one a tick. The client holds at most 32 unacknowledged inputs
(then its input clock stops), the server at most 8 a seat (then it takes no more and the client repeats): so
nothing is ever dropped in silence.
"""

from __future__ import annotations

import struct
from collections import deque

import attrs

from netcode.errors import BadFrame
from netcode.sequence import widen

UNACKED_MAX = 32
QUEUED_MAX = 8
SKIPS_MAX = 8
"""Gaps of one seat that are skipped; after that its inputs wait for what is missing. A client of ours makes none."""
HAS_BASELINE = 1
HEADER = struct.Struct("<BBHIHHHB")


@attrs.define
class InputPacket:
    """One input packet, parsed. `inputs` are packed inputs, newest first; sequences and ticks are still
    short."""

    stream: int
    ack: tuple[int, int]
    baseline: int
    """Low bits of the acknowledged tick, or -1."""
    seen: int
    newest: int
    inputs: bytes
    count: int


def parse_input_packet(data: bytes, input_bytes: int) -> InputPacket:
    """Raises BadFrame when the bytes are no input packet for inputs of this size."""
    if len(data) < HEADER.size:
        raise BadFrame("shorter than an input packet's header")
    flags, stream, ack, ack_bits, baseline, seen, newest, count = HEADER.unpack_from(data)
    if count > UNACKED_MAX or len(data) != HEADER.size + count * input_bytes:
        raise BadFrame(f"an input packet of {len(data)} bytes with {count} inputs of {input_bytes}")
    return InputPacket(
        stream,
        (ack, ack_bits),
        baseline if flags & HAS_BASELINE else -1,
        seen,
        newest,
        data[HEADER.size :],
        count,
    )


class InputWindow:
    """The client's unacknowledged inputs."""

    def __init__(self, last_seq: int) -> None:
        self.newest = last_seq
        self.acknowledged = last_seq
        self._waiting: deque[bytes] = deque(maxlen=UNACKED_MAX)

    @property
    def full(self) -> bool:
        """Whether the input clock must stop until the server acknowledges."""
        return len(self._waiting) >= UNACKED_MAX

    def add(self, packed: bytes) -> int:
        """Append one input; returns its sequence. The caller looks at `full` first."""
        assert not self.full
        self._waiting.append(packed)
        self.newest += 1
        return self.newest

    def acknowledge(self, last_seq: int) -> int:
        """The room has applied everything up to `last_seq`; returns how many inputs that settles now."""
        settled = min(last_seq, self.newest) - self.acknowledged
        if settled <= 0:
            return 0
        for _ in range(settled):
            self._waiting.popleft()
        self.acknowledged += settled
        return settled

    def packet(self, stream: int, ack: tuple[int, int], baseline: int, seen: int) -> bytes:
        """The plaintext that carries all of them."""
        flags, baseline_low = (HAS_BASELINE, baseline & 0xFFFF) if baseline >= 0 else (0, 0)
        head = HEADER.pack(flags, stream, *ack, baseline_low, seen & 0xFFFF, self.newest & 0xFFFF, len(self._waiting))
        return head + b"".join(reversed(self._waiting))


class InputQueue:
    """The server's queue of one seat: inputs that wait for their tick, in sequence."""

    __slots__ = ("_next", "_skips", "_waiting", "input_bytes", "skipped")

    def __init__(self, last_seq: int, input_bytes: int) -> None:
        self.input_bytes = input_bytes
        self.skipped: tuple[int, int] | None = None
        """A range of sequences that the client dropped; the room must be told before the next input is
        taken."""
        self._next = last_seq + 1
        self._skips = 0
        self._waiting: deque[tuple[int, int, bytes]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, packet: InputPacket) -> int:
        """Queue what is new in a packet, each with the tick that it saw; returns how many were new. Old ones are known
        already, those beyond the limit come again."""
        count = packet.count
        if not count:
            return 0
        newest = widen(packet.newest, 16, self._next)
        oldest = newest - count + 1
        if newest < self._next or newest >= self._next + 2 * UNACKED_MAX:
            return 0
        if oldest > self._next:
            if self._waiting or self.skipped is not None or self._skips >= SKIPS_MAX:
                return 0
            self._skips += 1
            self.skipped = (self._next, oldest - 1)
            self._next = oldest
        size, taken = self.input_bytes, 0
        for seq in range(self._next, newest + 1):
            if len(self._waiting) >= QUEUED_MAX:
                break
            back = newest - seq
            packed = packet.inputs[back * size : (back + 1) * size]
            self._waiting.append((seq, (packet.seen - back) & 0xFFFF, packed))
            taken += 1
        self._next += taken
        return taken

    def take(self) -> tuple[int, int, bytes] | None:
        """The next input for a tick: (sequence, seen tick's low bits, packed input); None: repeat the
        last."""
        return self._waiting.popleft() if self._waiting else None

    def take_skip(self) -> tuple[int, int] | None:
        """The range that must be journaled as skipped now, once."""
        skipped, self.skipped = self.skipped, None
        return skipped
