"""Players whose inputs and frames take the control connection, in the rows of `bots.columns`: many of them in one pass.

pool reads all ready sockets ─► frames of rows that are streamed, usual ones ─► `Columns.hear`
                                    └─► whatever else: `bots.control`, and the bot leaves its row
a slice's rows ─► `Columns.say` ─► framed, masked ─► sent in one call
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import trio

from bots.bot import Bot
from bots.columns import Columns
from netcode.frame import HEADER_DTYPE as HEADER
from netcode.packed import Packed, packed
from netcode.seal import DatagramType
from netcode.streams import MANY, Pieces, first_packets
from netcode.weblink import write_all

_FRAME = bytes([DatagramType.FRAME])


class Streams:
    """What rows say and hear over control connections."""

    def __init__(
        self,
        columns: Columns,
        odd: Callable[[Bot, bytes, float], None],
    ) -> None:
        """`odd` has a bot take a packet by itself."""
        self._columns, self._odd = columns, odd
        self._waiting: dict[Bot, bytes] = {}
        self._waiting_at = 0.0

    def take(self, came: Pieces) -> np.ndarray:
        """Take frames; how many bytes of each piece that was."""
        self.settle()
        columns, now, sizes = self._columns, trio.current_time(), came.data.sizes
        taken = np.zeros(len(sizes), np.int64)
        rows = columns.find(came.keys)
        at = np.flatnonzero(rows >= 0)
        at = at[columns.streamed[rows[at]]]
        while len(at) >= MANY or (len(at) and not taken.any()):
            rest = Packed(came.data.data, came.data.begins[at] + taken[at], sizes[at] - taken[at])
            packets, lengths = first_packets(rest, came.web[at], masked=False)
            good = (lengths > 0) & (packets.sizes > HEADER.itemsize)
            good &= packets.data.take(packets.begins, mode="clip") == DatagramType.FRAME
            at, lengths, packets = at[good], lengths[good], packets[good]
            if not len(at):
                break
            frames = Packed(packets.data, packets.begins + 1, packets.sizes - 1)
            strange = self._columns.hear(rows[at], frames, now)
            at, lengths = at[~strange], lengths[~strange]
            taken[at] += lengths
            at = at[taken[at] < sizes[at]]
        return taken

    def heard(self, bot: Bot, packet: bytes, now: float) -> None:
        """A packet came that `take` has left. A frame behind a message (events, mostly) is for the bot's row all the
        same, with others of its kind: to leave the row for it would cost more."""
        row = bot.row
        if row < 0 or not self._columns.streamed[row] or packet[:1] != _FRAME or len(packet) <= HEADER.itemsize:
            self._odd(bot, packet, now)
            return
        if bot in self._waiting:
            self.settle()
        self._waiting[bot] = packet
        self._waiting_at = now

    def settle(self) -> None:
        """Have rows take what waits for that. To be called before anybody looks at a row."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, {}
        rows = np.array([bot.row for bot in waiting], np.intp)
        strange = self._columns.hear(rows, packed([packet[1:] for packet in waiting.values()]), self._waiting_at)
        for (bot, packet), is_odd in zip(waiting.items(), strange.tolist(), strict=True):
            if is_odd:
                self._odd(bot, packet, self._waiting_at)

    def send(self, rows: np.ndarray, now: float) -> None:
        """Have these rows, all different, say their inputs."""
        rows, plaintexts = self._columns.say(rows, now)
        links = [link for row in rows.tolist() if (link := self._columns.links[row]) is not None]
        write_all(links, plaintexts, DatagramType.INPUT, masked=True)
