"""A client and a server, each by its own clock, over a link with delay, jitter and loss: the input clock at work.

Nothing here is real but `Play` and `InputQueue`: time is a number, chance a seed. What comes out are the figures that
steering is about: how often the server had to repeat an input, how long its queue was, how long an input took.
"""

from __future__ import annotations

import heapq
import random
from statistics import mean, median

import attrs

from netcode.frame import HEADER
from netcode.messages import Seated
from netcode.play import Play
from tests.netcode.ends import with_acks
from tests.netcode.queue import OneQueue

TIMER_LATE_S = 0.001
"""How late a timer of the client's may be."""


@attrs.frozen
class Link:
    """One way; `jitter_s` is how far a delay lies from `delay_s` at most."""

    delay_s: float = 0.0005
    jitter_s: float = 0.0
    loss: float = 0.0


@attrs.frozen
class Figures:
    """What the ticks of a while were like."""

    repeats: float
    """Share of ticks that had to repeat the last input."""
    depth: float
    """Mean of the inputs that wait after a tick."""
    p50_ms: float
    """From an input to the frame that acknowledges it."""
    p99_ms: float


def seat(tick_hz: int) -> Seated:
    """A seat in a room of which only one column matters; its input is one byte."""
    column = {"name": "x", "per": "seat", "count": 2, "bits": 16, "signed": True, "shift": 0, "exact": False}
    return Seated(
        room="r", game="plain", options={}, seat=0, seats=2, generation=1, stream=0, epoch=0, tick=0, tick_hz=tick_hz,
        last_seq=0, inputs=[["go", "i1", -1, 1]], view={"shared": [column], "own": []}, roster=[],
    )  # fmt: skip


class Pair:
    """`Play` and the server's queue of its seat. The server ticks first at `phase` of a tick, the client begins at 0.

    `beats`: the client has a fixed clock of one beat a tick, `drift` faster than the server's.
    """

    def __init__(
        self, tick_hz: int, link: Link, phase: float = 0.5, seed: int = 1, *, beats: bool = False, drift: float = 0.0
    ) -> None:
        self.play = Play(seat(tick_hz), decode=False)
        self.up = self.down = link
        """The link as it is now; a test changes it on the way."""
        self.paused = False
        """The server stands still: no ticks, and no tick numbers used up."""
        self.stalled = False
        """The client makes no inputs."""
        self._period_s = 1.0 / tick_hz
        self._beat_s = self._period_s / (1.0 + drift) if beats else None
        self._queue = OneQueue(0, 1)
        self._chance = random.Random(seed)
        self._now = self._tick_at = 0.0
        self._tick = self._number = self._applied = self._sent = 0
        self._received, self._ack_bits = 0, 0
        self._rtts: list[tuple[float, float]] = []
        self._ticks: list[tuple[float, bool, int]] = []
        self._events: list[tuple[float, int, str, bytes]] = []
        self._tick_at = phase * self._period_s
        self._put(self._tick_at, "tick")
        self._put(0.0, "input")

    def run(self, until_s: float) -> None:
        """Let time pass."""
        while self._events[0][0] <= until_s:
            self._now, _, kind, data = heapq.heappop(self._events)
            if kind == "tick":
                self._tick_at += self._period_s
                self._put(self._tick_at, "tick")
                if not self.paused:
                    self._make_tick()
            elif kind == "input":
                self._make_input()
            elif kind == "up":
                self._take(int.from_bytes(data[:4], "little"), data[4:])
            else:
                self.play.receive(data, self._now)
                self._rtts.extend((self._now, rtt_ms) for rtt_ms in self.play.rtt_ms)
                self.play.rtt_ms.clear()

    def figures(self, since_s: float, until_s: float = float("inf")) -> Figures:
        """Of the ticks and frames of that while."""
        ticks = [(repeated, depth) for now, repeated, depth in self._ticks if since_s <= now < until_s]
        rtts = sorted(rtt_ms for now, rtt_ms in self._rtts if since_s <= now < until_s)
        return Figures(
            repeats=mean(repeated for repeated, _ in ticks),
            depth=mean(depth for _, depth in ticks),
            p50_ms=median(rtts),
            p99_ms=rtts[len(rtts) * 99 // 100],
        )

    def _make_tick(self) -> None:
        self._tick += 1
        taken = self._queue.take()
        if taken is not None:
            self._applied = taken[0]
        depth = len(self._queue)
        if self._applied:
            self._ticks.append((self._now, taken is None, depth))
        data = HEADER.pack(0, 0, 0, self._tick & 0xFFFF, 0, self._applied & 0xFFFF, depth) + b"\0"
        if self._tick % 8 == 0:
            data = with_acks(data, (self._received & 0xFFFF, self._ack_bits))
        self._send("down", self.down, data)

    def _make_input(self) -> None:
        play, now = self.play, self._now
        if not self.stalled:
            makes = play.beat() if self._beat_s is not None else now >= play.due_at
            packet = play.next_packet((0, 0), now) if makes else play.repeat_packet((0, 0))
            self._sent += 1
            self._send("up", self.up, self._sent.to_bytes(4, "little") + packet)
        if self._beat_s is not None:
            self._put(now + self._beat_s, "input")
        else:
            self._put(max(now, play.due_at) + TIMER_LATE_S * self._chance.random(), "input")

    def _take(self, number: int, packet: bytes) -> None:
        ahead = number - self._received
        if ahead > 0:
            self._ack_bits = (self._ack_bits << ahead | 1 << (ahead - 1)) & 0xFFFFFFFF
            self._received = number
        elif ahead < 0:
            self._ack_bits |= 1 << (-ahead - 1) & 0xFFFFFFFF
        self._queue.offer(packet)

    def _send(self, way: str, link: Link, data: bytes) -> None:
        if self._chance.random() >= link.loss:
            jitter_s = link.jitter_s * (2.0 * self._chance.random() - 1.0)
            self._put(self._now + link.delay_s + jitter_s, way, data)

    def _put(self, when: float, kind: str, data: bytes = b"") -> None:
        self._number += 1
        heapq.heappush(self._events, (when, self._number, kind, data))
