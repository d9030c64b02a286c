"""`holdfast bench floor`: what the system itself takes for a frame, below which no server of ours can come.

    this process, on the server's core                         a child, on the bots' core
    recvmmsg of all that came (N a tick)          ◄── N datagrams a tick, from 16 sockets
    sendmmsg of N datagrams, one after the other  ──► taken from the sockets, and forgotten

The same batches (`netcode.mmsg`), sizes, numbers and pace as a server's with N players, and nothing else: nobody is
looked up, nothing is opened, stepped or sealed, and nobody looks at what came. Only the processor time of the two calls
on the server's side counts, with the columns of headers that they need. Loopback does the receiver's part of the
network within the sender's call, so it is paid for in the same places as by a server and its bots on one machine.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

if TYPE_CHECKING:
    import numpy as np

    from holdfast.bench.serving import Cores
    from netcode.mmsg import Batch

SOCKETS = 4
"""As many as a process of bots shares among its players (`bots.swarm`)."""
BATCH = 256
"""Datagrams that come between two looks at the socket, so that each call is a full one."""
SENT_MAX = 2048
LOOPBACK = "127.0.0.1"
WARM_UP_TICKS = 5
LOST_MAX = 0.01
"""Share of the datagrams that may be missing before a run is worth a warning."""


@attrs.frozen(kw_only=True)
class Floor:
    """What was measured. Times are processor time of the server's side, µs a datagram."""

    players: int
    input_bytes: int
    frame_bytes: int
    tick_hz: int
    ticks: int
    received: int
    sent: int
    receive_us: float
    send_us: float

    @property
    def us_per_frame(self) -> float:
        """One datagram in and one out: what a player costs each tick."""
        return round(self.receive_us + self.send_us, 3)

    @property
    def lost_share(self) -> float:
        """Of the datagrams that were to come, those that did not."""
        return round(max(0.0, 1 - self.received / (self.players * self.ticks)), 4)


@click.command()
@click.option("--players", type=click.IntRange(1, 20_000), default=1000, show_default=True, help="Datagrams a tick.")
@click.option("--input-bytes", type=click.IntRange(1, 1200), default=64, show_default=True, help="Size of one in.")
@click.option("--frame-bytes", type=click.IntRange(1, 1200), default=70, show_default=True, help="Size of one out.")
@click.option("--tick-hz", type=click.IntRange(10, 128), default=20, show_default=True, help="Ticks a second.")
@click.option("--seconds", type=click.FloatRange(0.1, 600), default=3.0, show_default=True, help="How long.")
@click.option("--json", "file", type=click.Path(path_type=Path), metavar="FILE", help="Write the figures here.")
def floor(players: int, input_bytes: int, frame_bytes: int, tick_hz: int, seconds: float, file: Path | None) -> int:
    """What the system takes to receive and send the datagrams of so many players: µs a player and tick."""
    from holdfast.bench.machine import machine, versions
    from holdfast.bench.serving import CannotMeasure, Cores, Others, ended_by_signals

    cores, others = Cores.found(), Others()
    try:
        with ended_by_signals():
            found = measure_floor(players, input_bytes, frame_bytes, max(1, round(seconds * tick_hz)), cores, tick_hz)
    except CannotMeasure as error:
        click.echo(f"holdfast bench floor: {error}", err=True)
        return 1
    measured = {
        **figures(found),
        "pinned": cores.told(),
        "others_share": others.share(),
        "machine": machine(),
        "versions": versions(),
    }
    if file is not None:
        file.write_text(json.dumps(measured, indent=2) + "\n")
    _print(measured)
    return 0


def figures(found: Floor) -> dict[str, Any]:
    """A floor as plain data."""
    return {**attrs.asdict(found), "floor_us_per_frame": found.us_per_frame, "lost_share": found.lost_share}


def measure_floor(players: int, in_bytes: int, out_bytes: int, ticks: int, cores: Cores, tick_hz: int = 20) -> Floor:
    """So many ticks of N datagrams in and N out, at a server's pace; see `holdfast bench floor`.

    Raises CannotMeasure.
    """
    import numpy as np

    from holdfast.bench.serving import CannotMeasure, on_core
    from netcode.mmsg import address_token, make_batch
    from server.datagrams import grow_buffers

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        grow_buffers(sock)
        sock.bind((LOOPBACK, 0))
        told = {"port": sock.getsockname()[1], "players": players, "bytes": in_bytes, "tick_hz": tick_hz}
        with _clients(told, cores.bots) as ports, on_core(cores.server):
            to = b"".join(address_token((LOOPBACK, ports[number % len(ports)])) for number in range(players))
            words = np.frombuffer(to, np.uint32).reshape(players, -1)
            side = _ServerSide(sock, make_batch(BATCH), make_batch(SENT_MAX), words, out_bytes)
            side.play(WARM_UP_TICKS, tick_hz)
            side.forget()
            side.play(ticks, tick_hz)
    if not side.received or not side.sent:
        raise CannotMeasure(f"{side.received} datagrams came and {side.sent} went out: is loopback shut?")
    return Floor(
        players=players,
        input_bytes=in_bytes,
        frame_bytes=out_bytes,
        tick_hz=tick_hz,
        ticks=ticks,
        received=side.received,
        sent=side.sent,
        receive_us=round(side.receive_s / side.received * 1e6, 3),
        send_us=round(side.send_s / side.sent * 1e6, 3),
    )


class _ServerSide:
    """Receives what has come in each part of a tick, and sends a datagram to everybody at its end."""

    def __init__(self, sock: socket.socket, inbox: Batch, outbox: Batch, to: np.ndarray, out_bytes: int) -> None:
        import numpy as np

        from netcode.packed import rows

        self._socket, self._inbox, self._outbox = sock, inbox, outbox
        self._to = to
        self._frames = rows(np.zeros((len(to), out_bytes), np.uint8))
        self.forget()

    def forget(self) -> None:
        """Count from here."""
        self.received, self.sent = 0, 0
        self.receive_s, self.send_s = 0.0, 0.0

    def play(self, ticks: int, tick_hz: int) -> None:
        """Some ticks, at their pace."""
        parts = parts_of(len(self._to))
        due_s, part_s, clock = time.monotonic(), 1 / tick_hz / parts, time.thread_time
        for _ in range(ticks):
            for _ in range(parts):
                due_s += part_s
                time.sleep(max(0.0, due_s - time.monotonic()))
                begun_s = clock()
                while count := len(self._inbox.take(self._socket)):
                    self.received += count
                    if count < BATCH:
                        break
                self.receive_s += clock() - begun_s
            begun_s = clock()
            for at in range(0, len(self._to), SENT_MAX):
                part = slice(at, at + SENT_MAX)
                self.sent += self._outbox.put(self._socket, self._frames[part], self._to[part])
            self.send_s += clock() - begun_s


def parts_of(players: int) -> int:
    """Parts of a tick, in each of which at most a batch of datagrams comes."""
    return -(-players // BATCH)


@contextlib.contextmanager
def _clients(told: dict[str, Any], core: int | None) -> Iterator[list[int]]:
    """A child that sends and takes the players' datagrams while the block lasts; yields its ports."""
    from holdfast.bench.serving import CannotMeasure, child_environ, on_core

    command = [sys.executable, "-m", "holdfast.bench.far_end", json.dumps(told)]
    with on_core(core):
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=child_environ(), start_new_session=True
        )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        line = child.stdout.readline()
        if not line:
            raise CannotMeasure(f"the clients ended with code {child.wait()}")
        yield json.loads(line)
    finally:
        child.stdin.close()  # it ends when nobody is there any more
        child.wait()
        child.stdout.close()


def _print(measured: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    what = f"{measured['players']:,} players at {measured['tick_hz']} Hz, {measured['ticks']} ticks"
    table = Table("", "bytes", "µs", title=f"The system's own price of a frame: {what}", title_justify="left")
    table.add_row("a datagram in", str(measured["input_bytes"]), f"{measured['receive_us']:.2f}")
    table.add_row("a datagram out", str(measured["frame_bytes"]), f"{measured['send_us']:.2f}")
    table.add_row("a player and tick", "", f"{measured['floor_us_per_frame']:.2f}", style="bold")
    console.print(table)
    if measured["lost_share"] > LOST_MAX:
        console.print(
            "warning: datagrams were lost: the machine was busy, or its socket buffers are small", style="yellow"
        )
