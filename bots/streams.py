"""Players whose inputs and frames take the control connection, in the rows of `bots.lean`: many of them in one pass.

pool reads all ready sockets ─► frames of rows that are streamed, usual ones ─► `Lean.hear`
                                    └─► whatever else: `bots.control`, and the bot leaves its row
a slice's rows ─► `Lean.say` ─► framed, masked ─► one send() a connection
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

import numpy as np
import trio

from bots.lean import Lean
from netcode.frame import HEADER as FRAME_HEADER
from netcode.packed import Packed
from netcode.seal import DatagramType
from netcode.streams import Pieces, first_packets, framed
from netcode.weblink import WebSocketLink

MANY = 8
"""Connections that have said more than one packet each are looked at together if they are so many."""


class Streams:
    """What rows say and hear over control connections."""

    def __init__(self, lean: Lean, read_later: Callable[[Callable[[], None]], None]) -> None:
        """`read_later` has full players read their frames when what has come is timed."""
        self._lean, self._read_later = lean, read_later

    def take(self, came: Pieces) -> np.ndarray:
        """Take frames; how many bytes of each piece that was."""
        lean, now, sizes = self._lean, trio.current_time(), came.data.sizes
        taken = np.zeros(len(sizes), np.int64)
        rows = lean.find(came.keys)
        at = np.flatnonzero(rows >= 0)
        at = at[lean.streamed[rows[at]]]
        while len(at) >= MANY or (len(at) and not taken.any()):
            rest = Packed(came.data.data, came.data.begins[at] + taken[at], sizes[at] - taken[at])
            packets, lengths = first_packets(rest, came.web[at], masked=False)
            good = (lengths > 0) & (packets.sizes > FRAME_HEADER.size)
            good &= packets.data.take(packets.begins, mode="clip") == DatagramType.FRAME
            at, lengths, packets = at[good], lengths[good], packets[good]
            if not len(at):
                break
            frames = Packed(packets.data, packets.begins + 1, packets.sizes - 1)
            strange, views = lean.hear(rows[at], frames, now)
            for bot, frame in views:
                self._read_later(partial(bot.read_view, frame))
            at, lengths = at[~strange], lengths[~strange]
            taken[at] += lengths
            at = at[taken[at] < sizes[at]]
        return taken

    def send(self, rows: np.ndarray, now: float) -> None:
        """Have these rows, all different, say their inputs."""
        rows, plaintexts = self._lean.say(rows, now)
        links = [self._lean.bot(row).link for row in rows.tolist()]
        web = np.fromiter([isinstance(link, WebSocketLink) for link in links], bool, len(links))
        keys = np.frombuffer(os.urandom(4 * len(links)), np.uint8).reshape(-1, 4) if web.any() else None
        out = framed(plaintexts, DatagramType.INPUT, web, keys)
        data = out.data.data
        for link, begin, end in zip(links, out.begins.tolist(), (out.begins + out.sizes).tolist(), strict=True):
            link.write_framed(data[begin:end])
