"""One seat's inputs on the server, for tests: packets are read as they come."""

from __future__ import annotations

import attrs
import numpy as np

from netcode.errors import BadFrame
from netcode.inputs import HAS_BASELINE, HEADER, UNACKED_MAX, InputQueues


@attrs.define
class InputPacket:
    """One input packet, read. `inputs` are packed inputs, newest first; sequences and ticks are still short."""

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
    told = baseline if flags & HAS_BASELINE else -1
    return InputPacket(stream, (ack, ack_bits), told, seen, newest, data[HEADER.size :], count)


class OneQueue:
    """The only place of an `InputQueues`."""

    stream = 0

    def __init__(self, last_seq: int, input_bytes: int, tick: int = 2**31) -> None:
        self.queues = InputQueues(input_bytes)
        self.place = self.queues.open()
        self.queues.begin(self.place, last_seq, self.stream)
        self.tick = tick

    def __len__(self) -> int:
        return int(self.queues.waiting[self.place])

    @property
    def baseline(self) -> int:
        """Tick of the newest frame that was acknowledged."""
        return int(self.queues.baseline[self.place])

    @property
    def skipping(self) -> bool:
        """Whether the room must be told of a gap."""
        return bool(self.queues.skipping(np.array([self.place])))

    def offer(self, *packets: bytes) -> int:
        """Packets that came between two ticks; how many inputs were new."""
        before = len(self)
        for packet in packets:
            self.queues.put_one(self.place, packet)
        self.malformed = self.queues.take_in(np.full(len(self.queues.waiting), self.tick, np.int64))
        return len(self) - before

    def take(self) -> tuple[int, int, bytes] | None:
        """The next input: sequence, low bits of the tick seen, packed input; None: none waits."""
        which, seqs, seen, data = self.queues.take(np.array([self.place]))
        return (int(seqs[0]), int(seen[0]), data[0].tobytes()) if len(which) else None

    def take_skip(self) -> tuple[int, int] | None:
        """The range that must be journaled as skipped, once."""
        return self.queues.take_skip(self.place) if self.skipping else None
