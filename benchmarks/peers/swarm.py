"""The load generator for the peers: many players over WebSocket, in one thread, with as little as possible for each.

    python -m benchmarks.peers.swarm --port N --dialect plain --players 1000 --seconds 12 --pid N    JSON on stdout

    join one by one ─► all play: warm-up ─► window opens ─► … ─► window closes ─► report
                             every ms: the inputs that are due; then whatever has come

Plain sockets and epoll, for a library's client would cost more than the servers that are measured. Every player sends
20 inputs a second at times of its own, spread over the tick, and stamps every frame. One in twenty, at other seats of
other rooms, is a *full* client: it decodes every frame, counts the players in it and how many have moved, and finds its
own newest input. Pings are answered by all. Whether the generator itself was the limit is in its report: by how much
its inputs were late, and its own processor time.
"""

from __future__ import annotations

import contextlib
import gc
import http.client
import json
import os
import select
import socket
import sys
import time
from array import array
from collections import Counter
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.peers.dialects import DIALECTS, SEATS, Dialect, Reader
from benchmarks.peers.wire import BINARY, CLOSE, PING, PONG, WireError, masked, split, upgrade, upgraded
from holdfast.files import raise_file_limit

TICK_S = 0.05
SLOTS = 50
"""Times in a tick at which inputs are sent: one a millisecond."""
EVENTS_MAX = 128
"""Sockets that are read before the clock is looked at again."""
FULL_EVERY = 20
WARM_UP_S = 4.0
JOIN_S = 10.0
"""The longest that a single player may take to come in."""


class Player:
    """One client."""

    __slots__ = ("acked", "arrivals", "full", "index", "inputs", "key", "lost", "reader", "rest", "seated", "sent",
                 "seq", "session", "socket")  # fmt: skip

    def __init__(self, index: int, connection: socket.socket, session: str) -> None:
        self.index = index
        self.socket = connection
        self.session = session
        self.seated = self.lost = False
        self.rest = b""
        self.key = (index * 2654435761 + 0x9E3779B9) & 0xFFFFFFFF
        self.seq = 0
        self.inputs: list[bytes] = []
        """Frames with all inputs that it will ever send: they are made before the window, not in it."""
        self.arrivals = array("d")
        self.full = self.is_full(index)
        self.reader: Reader | None = None
        self.sent: list[float] = [0.0]
        """Of a full client: when each input was sent, by its number."""
        self.acked = 0

    @staticmethod
    def is_full(index: int) -> bool:
        """Whether this one decodes its frames: one in twenty, at each seat in turn."""
        return index % FULL_EVERY == index // FULL_EVERY % SEATS


class Swarm:
    """All players, and what they saw in the window."""

    def __init__(self, port: int, dialect: Dialect) -> None:
        self.port = port
        self.dialect = dialect
        self.players: list[Player] = []
        self.errors: Counter[str] = Counter()
        self.frames = self.frame_bytes = self.full_frames = self.moved = 0
        self.seen_players: Counter[int] = Counter()
        self.rtt_s, self.late_s = array("d"), array("d")
        self._opened_at = self._closed_at = float("inf")
        self._epoll = select.epoll()
        self._by_fd: dict[int, Player] = {}
        self._matchmaker = http.client.HTTPConnection("127.0.0.1", port, timeout=JOIN_S)

    # -- joining -------------------------------------------------------------------------------------------------------

    def join(self, count: int) -> None:
        """One player after the other, each until it is in its room. Raises WireError, OSError."""
        for index in range(count):
            path, session = self._seat() if self.dialect.matchmaking else ("/", "")
            connection = socket.create_connection(("127.0.0.1", self.port), timeout=JOIN_S)
            player = Player(index, connection, session)
            self.players.append(player)
            rest = self._upgrade(connection, path)
            connection.setblocking(False)
            self._by_fd[connection.fileno()] = player
            self._epoll.register(connection.fileno(), select.EPOLLIN)
            if rest:
                self._take(player, rest, time.perf_counter())
            limit = time.perf_counter() + JOIN_S
            while not player.seated:
                self._receive(0.005)
                if time.perf_counter() > limit:
                    raise WireError(f"player {index} of {count} was not let in")

    def _upgrade(self, connection: socket.socket, path: str) -> bytes:
        """Make it a WebSocket; returns what the server has already said on it."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(upgrade(f"127.0.0.1:{self.port}", path))
        answer = b""
        while (rest := upgraded(answer)) is None:
            if not (more := connection.recv(4096)):
                raise WireError("the server hung up on a player that wanted to come in")
            answer += more
        return rest

    def leave(self) -> None:
        """Close all sockets."""
        for player in self.players:
            player.socket.close()
        self._matchmaker.close()
        self._epoll.close()

    def _seat(self) -> tuple[str, str]:
        """Where to connect and the session's name, from the matchmaking."""
        self._matchmaker.request("POST", "/matchmake/joinOrCreate/walk", "{}", {"Content-Type": "application/json"})
        seat = json.loads(self._matchmaker.getresponse().read())
        if "sessionId" not in seat:
            raise WireError(f"no seat: {seat}")
        session = seat["sessionId"]
        return f"/{seat['processId']}/{seat['roomId']}?sessionId={session}", session

    # -- playing -------------------------------------------------------------------------------------------------------

    def prepare(self, seconds: float) -> None:
        """Make the inputs of so long a time."""
        sequence = range(1, round(seconds / TICK_S) + 2)
        for player in self.players:
            index, key = player.index, player.key
            player.inputs = [masked(self.dialect.input(index, seq), key) for seq in sequence]
            self._receive(0)

    def play(self, seconds: float) -> None:
        """Send and receive for so long; called again, the inputs go on in step."""
        slots: list[list[Player]] = [[] for _ in range(SLOTS)]
        for player in self.players:
            slots[player.index * SLOTS // len(self.players)].append(player)
        clock, slot_s = time.perf_counter, TICK_S / SLOTS
        began = clock()
        for slot in range(round(seconds / slot_s)):
            due = began + slot * slot_s
            while (now := clock()) < due:
                self._receive(due - now)
            if due >= self._opened_at:
                self.late_s.append(now - due)
            for player in slots[slot % SLOTS]:
                self._send_input(player)
            self._receive(0)

    def open(self) -> None:
        """The window begins."""
        self._opened_at = time.perf_counter()

    def _send_input(self, player: Player) -> None:
        if player.lost:
            return
        frame = player.inputs[player.seq]
        player.seq += 1
        if player.reader is not None:
            player.sent.append(time.perf_counter())
        self._send(player, frame)

    def _send(self, player: Player, frame: bytes) -> None:
        try:
            if player.socket.send(frame) != len(frame):
                self._end(player, "half_sent")
        except BlockingIOError:
            self._end(player, "server_does_not_read")
        except OSError:
            self._end(player, "closed")

    def _receive(self, wait_s: float) -> None:
        for fd, _ in self._epoll.poll(wait_s, EVENTS_MAX):
            player = self._by_fd[fd]
            try:
                data = player.socket.recv(4096)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            now = time.perf_counter()
            if data:
                self._take(player, player.rest + data if player.rest else data, now)
            else:
                self._end(player, "closed")

    def _take(self, player: Player, data: bytes, now: float) -> None:
        try:
            if data[0] == 0x80 | BINARY and data[1] == len(data) - 2 < 126:  # one short message, as nearly always
                player.rest = b""
                self._message(player, data[2:], now)
                return
            messages, player.rest = split(data)
            for opcode, payload in messages:
                if opcode == PING:
                    self._send(player, masked(payload, player.key, PONG))
                elif opcode == CLOSE:
                    self._end(player, "closed")
                elif opcode != PONG:
                    self._message(player, payload, now)
        except WireError as error:
            self._end(player, f"unreadable: {error}")

    def _message(self, player: Player, payload: bytes, now: float) -> None:
        dialect = self.dialect
        if player.seated and dialect.is_frame(payload):
            inside = now >= self._opened_at
            if inside:
                player.arrivals.append(now)
                self.frames += 1
                self.frame_bytes += len(payload) + (2 if len(payload) < 126 else 4)
            if player.reader is not None:
                self._look(player, player.reader, payload, now, inside)
        elif (answer := dialect.answer(payload)) is not None:
            self._send(player, masked(answer, player.key))
        elif dialect.is_seated(payload):
            player.seated = True
            player.reader = dialect.reader(payload, player.session) if player.full else None

    def _look(self, player: Player, reader: Reader, payload: bytes, now: float, inside: bool) -> None:
        seen = reader.receive(payload)
        for seq in range(player.acked + 1, seen.acked + 1):
            if inside and player.sent[seq] >= self._opened_at:
                self.rtt_s.append(now - player.sent[seq])
        player.acked = max(player.acked, seen.acked)
        if inside:
            self.full_frames += 1
            self.moved += seen.moved
            self.seen_players[seen.players] += 1

    def _end(self, player: Player, why: str) -> None:
        """A player that is lost stays lost: its frames are missing in the report. Its socket is only shut down, so that
        its number is not given to another."""
        if player.lost:
            return
        player.lost = True
        self.errors[why] += 1
        with contextlib.suppress(OSError, ValueError):
            self._epoll.unregister(player.socket.fileno())
        with contextlib.suppress(OSError):
            player.socket.shutdown(socket.SHUT_RDWR)

    # -- the report ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """The window ends: nothing is received any more."""
        self._closed_at = time.perf_counter()

    def report(self) -> dict[str, Any]:
        """The figures of the window, by the names that `holdfast bots` uses, too."""
        seconds = self._closed_at - self._opened_at
        gaps = [intervals_s(player.arrivals, self._closed_at) for player in self.players]
        every = np.concatenate(gaps)
        worst = max(_percentile(own, 99) or seconds * 1e3 for own in gaps)
        counts = [len(player.arrivals) for player in self.players]
        return {
            "players": len(self.players),
            "full_clients": sum(player.full for player in self.players),
            "seconds": seconds,
            "frames": self.frames,
            "frames_per_s": {"min": min(counts) / seconds, "mean": sum(counts) / len(counts) / seconds},
            "frame_interval_ms": {
                "p50": _percentile(every, 50),
                "p99": _percentile(every, 99),
                "max": _percentile(every, 100),
                "worst_client_p99": worst,
            },
            "input_rtt_ms": {"p50": _percentile(self.rtt_s, 50), "p99": _percentile(self.rtt_s, 99)},
            "bytes_per_frame": self.frame_bytes / self.frames if self.frames else None,
            "moved_per_frame": self.moved / self.full_frames if self.full_frames else None,
            "frames_by_players": dict(sorted(self.seen_players.items())),
            "could_not_play": counts.count(0),
            "errors": dict(self.errors),
            "generator_late_ms": {"p50": _percentile(self.late_s, 50), "p99": _percentile(self.late_s, 99)},
        }


def intervals_s(arrivals: array[float], closed_at: float) -> np.ndarray[Any, Any]:
    """Times between frames; the one that is still open when it is longer than all others, so that silence is seen."""
    own = np.diff(arrivals)
    if not len(arrivals):
        return own
    open_s = closed_at - arrivals[-1]
    return np.append(own, open_s) if open_s > own.max(initial=0.0) else own


def _percentile(seconds: array[float] | np.ndarray[Any, Any], share: float) -> float | None:
    return float(np.percentile(seconds, share) * 1e3) if len(seconds) else None


def cpu_s(pid: int) -> float:
    """Processor time of a process so far, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> float:
    """Memory of a process in 10⁶ bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@click.command()
@click.option("--port", type=int, required=True, help="Where the server listens, on loopback.")
@click.option("--dialect", type=click.Choice(sorted(DIALECTS)), required=True, help="What it speaks.")
@click.option("--players", type=click.IntRange(SEATS, 100_000), required=True, help="How many, ten a room.")
@click.option("--seconds", type=click.FloatRange(1, 600), required=True, help="Length of the window.")
@click.option("--pid", type=int, required=True, help="The server's process, whose time and memory are looked at.")
def main(port: int, dialect: str, players: int, seconds: float, pid: int) -> None:
    """Load a server and print what was seen as JSON. Exit code 1 when not all could come in."""
    raise_file_limit()
    swarm, before_mb = Swarm(port, DIALECTS[dialect]), rss_mb(pid)
    try:
        swarm.join(players)
    except (WireError, OSError) as error:
        print(str(error) or type(error).__name__, file=sys.stderr)
        sys.exit(1)
    swarm.prepare(WARM_UP_S + seconds)
    gc.collect()
    gc.freeze()
    gc.disable()
    swarm.play(WARM_UP_S)
    swarm.open()
    server_s, own_s = cpu_s(pid), time.process_time()
    swarm.play(seconds)
    swarm.close()
    server_s, own_s = cpu_s(pid) - server_s, time.process_time() - own_s
    report = swarm.report()
    seconds = report["seconds"]
    report["server"] = {
        "cpu_us_per_frame": server_s / swarm.frames * 1e6 if swarm.frames else None,
        "cpu_share": server_s / seconds,
        "rss_mb": rss_mb(pid),
        "rss_mb_before": before_mb,
    }
    report["generator_cpu_share"] = own_s / seconds
    print(json.dumps(report))


if __name__ == "__main__":
    main()
