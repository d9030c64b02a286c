"""The other end of `holdfast bench floor`: a process that sends and takes the datagrams of N players, and nothing else.

    parent ── argv: port, players, bytes, tick_hz ──► this process ── its sockets' ports, a line of JSON ──► parent

It plays until its standard input ends, so that it does not outlive who started it.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from typing import Any

from holdfast.bench.floor import BATCH, LOOPBACK, SENT_MAX, SOCKETS, parts_of


def play(told: dict[str, Any]) -> None:
    """Send N datagrams a tick, a part after the other, and take what comes, until standard input ends."""
    from netcode.mmsg import address_token, make_batch
    from server.datagrams import grow_buffers

    socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(min(SOCKETS, told["players"]))]
    for sock in socks:
        sock.setblocking(False)
        grow_buffers(sock)
        sock.bind((LOOPBACK, 0))
    print(json.dumps([sock.getsockname()[1] for sock in socks]), flush=True)
    os.set_blocking(0, False)
    inbox, outbox = make_batch(BATCH), make_batch(SENT_MAX)
    server, packet, parts = address_token((LOOPBACK, told["port"])), bytes(told["bytes"]), parts_of(told["players"])
    due_s, part_s, turn = time.monotonic(), 1 / told["tick_hz"] / parts, 0
    while _somebody_is_there():
        for number, sock in enumerate(socks):
            count = share_of(told["players"], parts * len(socks), turn * len(socks) + number)
            outbox.send(sock, [packet] * count, [server] * count)
            while len(inbox.receive(sock)) == BATCH:
                pass
        turn = (turn + 1) % parts
        due_s += part_s
        time.sleep(max(0.0, due_s - time.monotonic()))


def share_of(players: int, parts: int, part: int) -> int:
    """Players in this part when they are spread evenly over all."""
    return players * (part + 1) // parts - players * part // parts


def _somebody_is_there() -> bool:
    try:
        return os.read(0, 1) != b""
    except BlockingIOError:
        return True


if __name__ == "__main__":
    play(json.loads(sys.argv[1]))
