"""A bad network without a network: what delays, loses, doubles and reorders packets, the same way for the same seed.

    push(packet, now) ──► fate of packet n = f(seed, lane, n) ──► 0, 1 or 2 copies, each with a due time ──► pop(now)

    latency=80   ms that each packet takes, *in each direction*: a round trip takes 160
    jitter=15    ms that this varies by, evenly in 65..95; at most the latency
    loss=2       percent of the packets that never arrive
    dup=1        percent that arrive twice, each copy with its own delay
    reorder=2    percent that are held back by HELD_BACK_MS more, so that later ones overtake them

A *stream* (TCP) loses and reorders nothing: what is lost there is sent again and comes RETRANSMITTED_MS later, and
everything behind it waits. Chance is counted, not drawn: what becomes of packet n is read off XXH3(seed, lane, n) and
depends on nothing before it, as in `game.rng`. Nothing here reads a clock: `now` is in seconds, monotonic.
"""

from __future__ import annotations

import heapq
import struct
from typing import ClassVar, Generic, TypeVar

import attrs
from xxhash import xxh3_128_digest

from netcode.errors import NetcodeError

HELD_BACK_MS = 60.0
"""At 20 packets a second and more, at least one comes earlier than one that is held back."""
RETRANSMITTED_MS = 200.0
"""The least that a TCP waits before it sends again (Linux)."""
WAITING_MAX = 4096
LATENCY_MAX_MS = 5000.0
_MASK = (1 << 64) - 1
_NAME = struct.Struct("<QQ")
_CHANCES = struct.Struct("<4I")
_UNIT = 1.0 / (1 << 32)

Packet = TypeVar("Packet")


class BadConditions(NetcodeError, ValueError):
    """A text that describes no link; one line with the remedy."""


@attrs.frozen(kw_only=True)
class Conditions:
    """How bad a link is; every direction of it alike."""

    KEYS: ClassVar[dict[str, tuple[str, float, str]]] = {
        "latency": ("latency_ms", LATENCY_MAX_MS, "ms each way"),
        "jitter": ("jitter_ms", LATENCY_MAX_MS, "ms, not above latency"),
        "loss": ("loss_percent", 100.0, "percent"),
        "dup": ("dup_percent", 100.0, "percent"),
        "reorder": ("reorder_percent", 100.0, "percent"),
    }
    """Key in the text → field, highest value, unit."""

    latency_ms: float = 0.0
    jitter_ms: float = 0.0
    loss_percent: float = 0.0
    dup_percent: float = 0.0
    reorder_percent: float = 0.0

    def __attrs_post_init__(self) -> None:
        for key, (field, highest, unit) in self.KEYS.items():
            value = getattr(self, field)
            if not 0.0 <= value <= highest:  # false for NaN, too
                raise BadConditions(f"link {key}={value:g}: it lies in 0..{highest:g} ({unit})")
        if self.jitter_ms > self.latency_ms:
            raise BadConditions(
                f"link jitter={self.jitter_ms:g}: it may not exceed latency={self.latency_ms:g} "
                "(nothing arrives before it was sent)"
            )

    @classmethod
    def parse(cls, text: str) -> Conditions:
        """From a text such as "latency=80,jitter=15,loss=2,dup=1,reorder=2"; raises BadConditions."""
        values: dict[str, float] = {}
        for word in filter(None, (part.strip() for part in text.split(","))):
            key, equals, number = (part.strip() for part in word.partition("="))
            if key not in cls.KEYS or not equals:
                known = ", ".join(f"{name}=0..{highest:g}" for name, (_, highest, _) in cls.KEYS.items())
                raise BadConditions(f"link {word!r} is none of {known}; an example: latency=80,jitter=15,loss=2")
            field, highest, unit = cls.KEYS[key]
            if field in values:
                raise BadConditions(f"link {key} is given twice")
            try:
                values[field] = float(number)
            except ValueError:
                raise BadConditions(f"link {word!r}: a number from 0 to {highest:g} is wanted ({unit})") from None
        return cls(**values)

    def __str__(self) -> str:
        """The text that `parse` takes; what is 0 is left out."""
        values = ((key, getattr(self, field)) for key, (field, _, _) in self.KEYS.items())
        return ",".join(f"{key}={value:g}" for key, value in values if value)


class Waiting(Generic[Packet]):
    """Packets that are under way, by the time when they are due. Many conditioners may share one."""

    def __init__(self, packets_max: int = WAITING_MAX) -> None:
        self.dropped = 0
        """Packets that found `packets_max` under way: they are lost."""
        self._packets_max = packets_max
        self._heap: list[tuple[float, int, Packet]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def due(self) -> float:
        """When the next packet is due; infinity when none is under way."""
        return self._heap[0][0] if self._heap else float("inf")

    def put(self, packet: Packet, due: float) -> None:
        """Let a packet arrive at `due`; those of one time keep their order."""
        if len(self._heap) >= self._packets_max:
            self.dropped += 1
            return
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, packet))

    def pop(self, now: float) -> list[Packet]:
        """Everything that has arrived by `now`, in the order of arrival."""
        heap, arrived = self._heap, []
        while heap and heap[0][0] <= now:
            arrived.append(heapq.heappop(heap)[2])
        return arrived


class Conditioner(Generic[Packet]):
    """One direction of one link. `lane` keeps the directions and links of one seed apart."""

    def __init__(
        self,
        conditions: Conditions,
        seed: int,
        lane: int = 0,
        *,
        stream: bool = False,
        waiting: Waiting[Packet] | None = None,
    ) -> None:
        self.conditions = conditions
        """May be exchanged at any time; what is under way is not touched."""
        self.waiting: Waiting[Packet] = Waiting() if waiting is None else waiting
        self.pushed = 0
        self.lost = 0
        """Packets that never arrive (of a stream: that came late, as sent again)."""
        self.doubled = 0
        self.held_back = 0
        self._seed, self._lane = seed & _MASK, 2 * lane & _MASK
        self._stream = stream
        self._last_due = float("-inf")

    @property
    def due(self) -> float:
        """When the next packet is due; infinity when none is under way."""
        return self.waiting.due

    def push(self, packet: Packet, now: float) -> None:
        """A packet is sent at `now`."""
        self.pushed += 1
        conditions = self.conditions
        loss, dup, reorder, late = self._chances(0)
        lost = loss < conditions.loss_percent
        self.lost += lost
        if self._stream:
            delay_ms = self._delay_ms(late) + (RETRANSMITTED_MS if lost else 0.0)
            self._last_due = max(self._last_due, now + delay_ms / 1000.0)
            self.waiting.put(packet, self._last_due)
        elif not lost:
            delay_ms = self._delay_ms(late)
            if reorder < conditions.reorder_percent:
                self.held_back += 1
                delay_ms += HELD_BACK_MS
            self.waiting.put(packet, now + delay_ms / 1000.0)
            if dup < conditions.dup_percent:
                self.doubled += 1
                self.waiting.put(packet, now + self._delay_ms(self._chances(1)[3]) / 1000.0)

    def pop(self, now: float) -> list[Packet]:
        """Everything that has arrived by `now`, in the order of arrival."""
        return self.waiting.pop(now)

    def _chances(self, copy: int) -> tuple[float, ...]:
        """Four numbers in 0 ≤ x < 100 for this copy of the packet that was pushed last."""
        digest = xxh3_128_digest(_NAME.pack(self._lane + copy, self.pushed), self._seed)
        return tuple(100.0 * _UNIT * word for word in _CHANCES.unpack(digest))

    def _delay_ms(self, late: float) -> float:
        conditions = self.conditions
        return conditions.latency_ms + conditions.jitter_ms * (0.02 * late - 1.0)


class Wire(Generic[Packet]):
    """Both directions of one link."""

    def __init__(self, conditions: Conditions, seed: int = 1, link: int = 0) -> None:
        self.up: Conditioner[Packet] = Conditioner(conditions, seed, 2 * link)
        self.down: Conditioner[Packet] = Conditioner(conditions, seed, 2 * link + 1)

    @property
    def due(self) -> float:
        """When the next packet is due at either end."""
        return min(self.up.due, self.down.due)
