"""Realtime packets on control connections, of many connections in one pass: found in what was read, framed for writing.

    what was read ─► [a binary frame of a WebSocket:] a packet of kind 1 ─► type and plaintext        (`first_packets`)
    plaintexts ─► type, packet's head, [WebSocket's head] ─► what to write                                   (`framed`)

Only what is usual is found: a whole packet, alone in a whole, short, unfragmented message. Whatever else comes is for
`netcode.websocket` and `netcode.control`, which know every rule, one connection at a time. Nothing here does I/O.
"""

from __future__ import annotations

import attrs
import numpy as np

from netcode.framing import FrameKind
from netcode.packed import Packed, joined

PACKET_MAX = 512
"""Bytes of a packet (its kind, type and plaintext) that is found here; those of players are below 300. All of a pass
are unmasked at the length of the longest, so one long one makes it dearer for everybody."""
FRAMED_MAX = 60_000
"""Bytes of a plaintext that is framed here."""
MANY = 8
"""Connections that have said more than one packet each are looked at together if they are so many."""
_BINARY, _MASKED, _MEDIUM = 0x82, 0x80, 126
_WEB_HEAD, _KEY, _HEAD = 4, 4, 6  # the longest head of a short message, its key, ours with the type


@attrs.frozen(eq=False)
class Pieces:
    """What was read from many connections, in no particular order."""

    data: Packed
    keys: np.ndarray
    """(n,) uint64: connection id of each one's realtime channel."""
    web: np.ndarray
    """(n,) bool: which are WebSockets."""


def first_packets(pieces: Packed, web: np.ndarray, *, masked: bool) -> tuple[Packed, np.ndarray]:
    """The realtime packet (type and plaintext) that each piece begins with, and how many bytes of the piece that is;
    0, and an empty packet, where it begins otherwise. `masked`: by clients."""
    data, begins, sizes = pieces.data, pieces.begins, pieces.sizes
    heads = _bytes_at(data, begins, 5)
    short = heads[:, 1].astype(np.int64) - _MASKED * masked
    medium = short == _MEDIUM
    told = np.where(medium, heads[:, 2].astype(np.int64) << 8 | heads[:, 3], short)
    good = ~web | ((heads[:, 0] == _BINARY) & (short >= 0) & np.where(medium, told >= _MEDIUM, short < _MEDIUM))
    body = np.where(web, np.where(medium, 4, 2) + _KEY * masked, 0)
    told = np.where(web, told, _lengths(heads) + 4)
    good &= (told <= PACKET_MAX + 4) & (body + told <= sizes)
    at = begins + body
    if masked and web.any():
        width = -(-int(told[good].max(initial=5)) // 4) * 4
        words = _bytes_at(data, at, width).view(np.uint32)
        words ^= np.where(web, _bytes_at(data, at - _KEY, _KEY).view(np.uint32)[:, 0], 0).astype(np.uint32)[:, None]
        data, at = words.view(np.uint8).reshape(-1), np.arange(len(at)) * width
    inner = _bytes_at(data, at, 5)
    good &= (_lengths(inner) == told - 4) & (told > 5) & (inner[:, 4] == FrameKind.REALTIME)
    return Packed(data, at + 5, np.where(good, told - 5, 0)), np.where(good, body + told, 0)


def framed(plaintexts: Packed, kind: int, web: np.ndarray, keys: np.ndarray | None = None) -> Packed:
    """These, none longer than FRAMED_MAX, as realtime packets of this type, each in a message of its own where the
    connection is a WebSocket. `keys` ((n, 4) uint8): of a client's messages."""
    count, size = len(plaintexts), plaintexts.sizes
    key_size = 0 if keys is None else _KEY
    heads = np.zeros((count, _WEB_HEAD + key_size + _HEAD), np.uint8)
    told, medium, masked = size + _HEAD, size + _HEAD >= _MEDIUM, 0 if keys is None else _MASKED
    heads[:, 0], heads[:, 1] = _BINARY, _MEDIUM | masked
    heads[:, 2] = np.where(medium, told >> 8, _BINARY)
    heads[:, 3] = np.where(medium, told & 0xFF, told | masked)
    inner = _WEB_HEAD + key_size
    heads[:, inner : inner + 4] = (size + 2).astype("<u4").view(np.uint8).reshape(-1, 4)
    heads[:, inner + 4], heads[:, inner + 5] = FrameKind.REALTIME, kind
    if keys is not None:
        heads[:, _WEB_HEAD:inner] = keys
    left_out = np.where(web, np.where(medium, 0, 2), inner)
    begins = np.arange(count) * heads.shape[1] + left_out
    out = joined(Packed(heads.reshape(-1), begins, heads.shape[1] - left_out), plaintexts)
    if keys is not None:
        _mask(out, np.where(web, inner - left_out, out.sizes), keys)
    return out


def _mask(messages: Packed, heads: np.ndarray, keys: np.ndarray) -> None:
    """Mask dense messages behind their heads, in place."""
    at = np.arange(len(messages.data)) - np.repeat(messages.begins + heads, messages.sizes)
    key = np.repeat(np.arange(len(messages)), messages.sizes) * _KEY + (at & 3)
    messages.data[:] ^= np.where(at >= 0, keys.reshape(-1)[key], np.uint8(0))


def _bytes_at(data: np.ndarray, begins: np.ndarray, count: int) -> np.ndarray:
    """(n, count) bytes from each of these places on, whatever lies there; what is beyond the end is of no meaning."""
    if not len(data):
        return np.zeros((len(begins), count), np.uint8)
    found: np.ndarray = data.take(begins[:, None] + np.arange(count), mode="clip")
    return found


def _lengths(heads: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.ascontiguousarray(heads[:, :4]).view("<u4")[:, 0].astype(np.int64)
    return found
