"""Datagrams of the usual kind, all of a batch at once: input packets from the proven path, each newer than all before
it. What an end sends behind one that is not usual is left alone with it, so that all is opened in its order.

    known? usual? ─► seal opened ─► window moved ─► heard ─► budget ─► input packet
      │       └─► left alone, and told                         └─► dropped and counted
      └─► dropped and counted

A datagram changes nothing before its tag was found good. `open_compiled` is one call of `_usual.c`, row by row;
`open_in_columns` does the same in some forty passes, wherever nothing is compiled; where ends have several datagrams in
the batch, in as many for the first of each, and again for the second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs
import numpy as np

from netcode.columns import AHEAD_MAX, shifted
from netcode.packed import Packed, compiled, dense, whole
from netcode.received import Received
from netcode.seal import CONNECTION_AT, HEADER_SIZE, OVERHEAD, PAYLOAD_MAX, SEQUENCE_AT, DatagramType, first_byte
from netcode.seals import CompiledSeals, Seals
from netcode.server_end import NOBODY, PACKET_BYTES_PER_S, PACKETS_BURST_S, PACKETS_PER_S, SIZES_BURST_S, Channel

if TYPE_CHECKING:
    from netcode.ends import ServerEnds

_INPUT_FIRST = first_byte(DatagramType.INPUT)
_BUDGET = (PACKETS_PER_S, PACKET_BYTES_PER_S, PACKETS_BURST_S, SIZES_BURST_S)


PASSES_MAX = 8
"""So many usual datagrams of each end are opened together with others'."""


@attrs.frozen(eq=False)
class Usual:
    """What was usual of a batch."""

    inputs: list[tuple[np.ndarray, Packed]]
    """Input packets with the slots of their ends, those of an end in the order in which they came."""
    others: np.ndarray
    """Numbers of the datagrams that are of known ends and not usual, in order."""


class OpenUsual(Protocol):
    """Opens what is usual of a batch that came at `now`, with the keys `up` of the ends; the rest of what is known is
    left alone."""

    def __call__(self, ends: ServerEnds, up: Seals, came: Received, now: float) -> Usual: ...


def open_in_columns(ends: ServerEnds, up: Seals, came: Received, now: float) -> Usual:
    """See `OpenUsual`."""
    data, sizes = came.data, came.sizes
    slots = ends.find_all(came.numbers(CONNECTION_AT, SEQUENCE_AT))
    known = (slots != NOBODY) & (sizes >= OVERHEAD)
    ends.drops.unknown += len(sizes) - int(np.count_nonzero(known))
    low = came.numbers(SEQUENCE_AT, HEADER_SIZE)
    usual = known & (data[:, 0] == _INPUT_FIRST) & (sizes <= PAYLOAD_MAX)
    usual &= (ends.path_bytes[slots] == 4 * came.words.shape[1]) & (
        ends.path[slots, : came.words.shape[1]] == came.words
    ).all(axis=1)
    at, odd = np.flatnonzero(usual), np.flatnonzero(known & ~usual)
    inputs, apart = [], [odd]
    for _ in range(PASSES_MAX):
        if len(odd):  # what else their ends have sent is opened in its order, too
            theirs = np.isin(slots[at], slots[odd])
            apart.append(at[theirs])
            at = at[~theirs]
        if not len(at):
            break
        first = ends.firsts(slots[at])
        some, at = at[first], at[~first]
        ahead = (low[some] - ends.highest[slots[some]]) & 0xFFFF
        new = (ahead > 0) & (ahead <= AHEAD_MAX)
        odd = some[~new]
        apart.append(odd)
        if new.any():
            inputs.append(_open_pass(ends, up, came, some[new], slots[some[new]], ahead[new], now))
    return Usual(inputs, np.sort(np.concatenate([*apart, at])))


def _open_pass(
    ends: ServerEnds, up: Seals, came: Received, at: np.ndarray, slots: np.ndarray, ahead: np.ndarray, now: float
) -> tuple[np.ndarray, Packed]:
    """Datagrams of different ends."""
    sizes = came.sizes[at]
    packets, good = up.open(slots, ends.highest[slots] + ahead, came.datagrams(at))
    if not good.all():
        ends.drops.forged += len(good) - int(np.count_nonzero(good))
        slots, ahead, sizes, packets = slots[good], ahead[good], sizes[good], packets[good]
    ends.highest[slots] += ahead
    ends.window[slots] = shifted(ends.window[slots], ahead)
    ends.heard_at[slots] = ends.path_heard_at[slots] = now
    within = ends.take_packets(slots, sizes, now)
    if not within.all():
        ends.drops.excess += len(within) - int(np.count_nonzero(within))
        slots, packets = slots[within], packets[within]
    ends.channel[slots] = Channel.DATAGRAM
    return slots, packets


def open_compiled(ends: ServerEnds, up: Seals, came: Received, now: float) -> Usual:
    """See `OpenUsual`."""
    assert isinstance(up, CompiledSeals)
    count = len(came)
    out = np.empty(int(np.maximum(came.sizes - OVERHEAD, 0).sum()), np.uint8)
    slots, sizes, others = np.empty((3, count), np.int64)
    opened, left, unknown, forged, excess = compiled.open_usual(
        (ends.connection, ends.path_bytes, ends.path, *up.columns, ends.highest, ends.window, ends.heard_at,
         ends.path_heard_at, ends.packets_full_at, ends.sizes_full_at, ends.channel, ends.scratch),
        (*whole(came.sizes), came.data, came.words, slots, sizes, others),
        *(out, now, PASSES_MAX, _BUDGET),
    )  # fmt: skip
    drops = ends.drops
    drops.unknown += unknown
    drops.forged += forged
    drops.excess += excess
    packets = dense(out, sizes[:opened])
    if (used := int(packets.sizes.sum())) < len(out):  # else what was dropped would be kept with the packets
        packets = dense(out[:used].copy(), packets.sizes)
    return Usual([(slots[:opened], packets)] if opened else [], others[:left])


open_usual: OpenUsual = open_in_columns if compiled is None else open_compiled
"""The fastest that this installation has."""
