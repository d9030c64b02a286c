"""The realtime channel over control connections, for players whose datagrams do not pass: many at once, in columns.

    pool reads all ready sockets ─► input packets of players in seats ─► budgets, inboxes: as datagrams' (`ServerEnds`)
                                        └─► whatever else: `server.visitor`, one connection at a time
    frames of a tick ─► framed in one pass ─► written, those without TLS in one call; what is left ─► outboxes

No task, await or timer is spent on any of it. Bytes are owed here and charged by the visitor, which alone can wait.
"""

from __future__ import annotations

import numpy as np
import trio

from netcode.control import realtime_bytes
from netcode.ends import ServerEnds
from netcode.inputs import well_formed
from netcode.packed import Packed
from netcode.seal import DatagramType
from netcode.server_end import NOBODY
from netcode.streams import FRAMED_MAX, MANY, Pieces, first_packets
from netcode.weblink import write_all
from netcode.websocket import FRAME_COST

OWED_MAX = 4096
"""Bytes that a session may owe before its visitor charges them: a second of play."""
ROUNDS_MAX = 4
"""So often connections that have said more are looked at together: who floods does so by itself."""
_FRAME = bytes([DatagramType.FRAME])


class Crowd:
    """Takes the input packets in what the pool reads."""

    def __init__(self, ends: ServerEnds) -> None:
        self._ends = ends

    def __call__(self, came: Pieces) -> np.ndarray:
        """How many bytes of each piece were taken."""
        ends, now, sizes = self._ends, trio.current_time(), came.data.sizes
        taken = np.zeros(len(sizes), np.int64)
        slots = ends.find_all(came.keys)
        input_bytes = ends.input_bytes(slots)
        at = np.flatnonzero((slots != NOBODY) & (input_bytes >= 0))
        for number in range(ROUNDS_MAX):
            if len(at) < (MANY if number else 1):
                break
            rest = Packed(came.data.data, came.data.begins[at] + taken[at], sizes[at] - taken[at])
            packets, lengths = first_packets(rest, came.web[at], masked=True)
            plaintexts = Packed(packets.data, packets.begins + 1, packets.sizes - 1)
            kinds = packets.data.take(packets.begins, mode="clip")
            good = (lengths > 0) & (kinds == DatagramType.INPUT) & well_formed(plaintexts, input_bytes[at])
            good &= ends.owed[slots[at]] < OWED_MAX
            at, lengths, plaintexts = at[good], lengths[good], plaintexts[good]
            ends.owed[slots[at]] += lengths + FRAME_COST * came.web[at]
            ends.receive_over_control(slots[at], plaintexts, now)
            taken[at] += lengths
            at = at[taken[at] < sizes[at]]
        return taken


def send_frames(ends: ServerEnds, slots: np.ndarray, frames: Packed) -> None:
    """Write a frame to the control connection of each of these ends."""
    short = frames.sizes <= FRAMED_MAX
    if not short.all():
        for slot, frame in zip(slots[~short].tolist(), frames[~short].strings(), strict=True):
            ends.owners[slot].link.write(realtime_bytes(_FRAME + frame))
        slots, frames = slots[short], frames[short]
    write_all([ends.owners[slot].link for slot in slots.tolist()], frames, DatagramType.FRAME, masked=False)
