"""What a pool reads from many connections, as the tests write it down."""

from __future__ import annotations

import numpy as np

from netcode.packed import packed
from netcode.streams import Pieces


def pieces_of(said: list[bytes], keys: list[int], web: list[bool]) -> Pieces:
    """What each has said, under the connection id of its realtime channel, over a WebSocket or not."""
    return Pieces(packed(said), np.array(keys, np.uint64), np.array(web, bool))
