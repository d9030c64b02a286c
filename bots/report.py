"""What a run of bots measured: from single frames to the JSON that people compare.

    PlayerSeries (one a bot) ──► Tally (one a process, sums) ──► merge ──► report()  ──► JSON, table, --fail-if

Everything is bounded: intervals and round trips go into histograms whose buckets are 2 % wide, so that a run of an
hour takes the memory of a run of a second. Percentiles are therefore good to 1 %; `max` is exact. What each figure
means is said at `report`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from bots.histogram import Histogram

_SEEN = 64
_SEEN_MASK = (1 << _SEEN) - 1


class PlayerSeries:
    """What one player sees while the window is open."""

    __slots__ = ("_end", "_start", "acknowledged", "at", "compared", "corrections", "datagrams", "fallbacks",
                 "frame_bytes", "frames", "gaps", "left", "newest", "packets", "playing", "reconnects", "rtt",
                 "seen", "sent", "skipped")  # fmt: skip

    def __init__(self) -> None:
        self.playing = False
        """Whether a frame has ever come."""
        self.frames = 0
        """Distinct ticks seen in the window."""
        self.packets = 0
        """Frames received in the window, their bytes on the wire, and how many came by datagram."""
        self.frame_bytes = 0
        self.datagrams = 0
        self.gaps = Histogram()
        self.rtt = Histogram()
        self.sent = 0
        self.acknowledged = 0
        self.skipped = 0
        """Inputs that the room told to have skipped."""
        self.fallbacks = 0
        """How often inputs moved to the control channel because datagrams did not pass."""
        self.reconnects = 0
        self.compared = 0
        """Frames of the window that were compared with a prediction, and how far those that differed were off."""
        self.corrections: Histogram | None = None
        self.left: tuple[int, int] | None = None
        """The server's books when the seat was given up: last sequence, inputs applied."""
        self.newest = -1
        """The highest tick seen, the 64 up to it (bit i: newest - i), and when it came."""
        self.seen = 0
        self.at = 0.0
        self._start = math.inf
        self._end = math.inf

    def open(self, now: float) -> None:
        """The window starts: count from here."""
        self._start = now

    def close(self, now: float) -> None:
        """The window ends. A gap that is still open and longer than all before counts, so that silence is seen."""
        self._end = now
        if self.playing and now >= self._start:
            open_ms = (now - max(self.at, self._start)) * 1000.0
            if open_ms > self.gaps.max_ms and self.gaps.count():
                self.gaps.add(open_ms)

    def frame(self, tick: int, now: float, size: int, by_datagram: bool = True) -> bool:
        """A frame of this tick arrived; False when that tick had been seen already."""
        inside = self._start <= now < self._end
        if inside:
            self.packets += 1
            self.frame_bytes += size
            self.datagrams += by_datagram
        ahead = tick - self.newest
        if ahead > 0:
            self.seen = (self.seen << min(ahead, _SEEN) | 1) & _SEEN_MASK
            self.newest = tick
            if inside:
                self.frames += 1
                if self.playing:
                    self.gaps.add((now - self.at) * 1000.0)
            self.at = now
            self.playing = True
            return True
        bit = 1 << -ahead
        if -ahead >= _SEEN or self.seen & bit:
            return False
        self.seen |= bit
        self.frames += inside
        return True

    def round_trips(self, rtt_ms: deque[float], now: float) -> None:
        """Inputs were acknowledged; takes the list over and empties it."""
        if self._start <= now < self._end:
            for one_ms in rtt_ms:
                self.rtt.add(one_ms)
        rtt_ms.clear()

    def corrected(self, compared: int, off: Iterable[float], now: float) -> None:
        """So many frames were compared with a prediction; those that differed were `off` by this, in world units."""
        if self._start <= now < self._end:
            self.compared += compared
            self.corrections = self.corrections or Histogram()
            for distance in off:
                self.corrections.add(distance)

    @property
    def lost(self) -> int:
        """Inputs that were skipped, or never acknowledged though the session lived until its books were told."""
        if self.left is None:
            return self.skipped
        last_seq, applied = self.left
        return max(0, last_seq - applied, self.skipped) + max(0, self.sent - self.acknowledged)

    @property
    def duplicated(self) -> int:
        """Inputs that the server applied more than once, by its own books."""
        return max(0, self.left[1] + self.skipped - self.left[0]) if self.left is not None else 0


@attrs.define
class Tally:
    """The sums over some players."""

    players: int = 0
    full_clients: int = 0
    rooms: int = 0
    tick_hz: int = 0
    frames: int = 0
    frames_min: int | None = None
    """Distinct ticks of the player who saw fewest."""
    packets: int = 0
    frame_bytes: int = 0
    worst_gap_p99_ms: float | None = None
    sent: int = 0
    acknowledged: int = 0
    lost: int = 0
    duplicated: int = 0
    reconnects: int = 0
    fallbacks: int = 0
    datagrams: int = 0
    predicting: int = 0
    compared: int = 0
    cpu_s: float = 0.0
    """CPU time of the bots' own processes in the window."""
    idle: int = 0
    """Players who could not play, or not to the end."""
    errors: dict[str, int] = attrs.field(factory=dict)
    examples: dict[str, str] = attrs.field(factory=dict)
    """The first message of each kind of error."""
    gaps: Histogram = attrs.field(factory=Histogram)
    rtt: Histogram = attrs.field(factory=Histogram)
    late: Histogram = attrs.field(factory=Histogram)
    """How late the bots' own loop was."""
    joins: Histogram = attrs.field(factory=Histogram)
    """From when a bot was to come until it had its seat."""
    corrections: Histogram = attrs.field(factory=Histogram)

    def add(self, series: PlayerSeries, *, full: bool) -> None:
        """Count one player in."""
        self.players += 1
        self.full_clients += full
        self.frames += series.frames
        self.frames_min = series.frames if self.frames_min is None else min(self.frames_min, series.frames)
        self.packets += series.packets
        self.frame_bytes += series.frame_bytes
        self.sent += series.sent
        self.acknowledged += series.acknowledged
        self.lost += series.lost
        self.duplicated += series.duplicated
        self.reconnects += series.reconnects
        self.fallbacks += series.fallbacks
        self.datagrams += series.datagrams
        if series.corrections is not None:
            self.predicting += 1
            self.compared += series.compared
            self.corrections.merge(series.corrections)
        self._worst(series.gaps.percentile(0.99))
        self.gaps.merge(series.gaps)
        self.rtt.merge(series.rtt)

    def error(self, kind: str, message: str, count: int = 1) -> None:
        """Something went wrong for a bot."""
        if count:
            self.errors[kind] = self.errors.get(kind, 0) + count
            self.examples.setdefault(kind, message)

    def merge(self, other: Tally) -> None:
        """Count everything that another process counted."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.tick_hz = max(self.tick_hz, other.tick_hz)
        if other.frames_min is not None:
            mine = self.frames_min
            self.frames_min = other.frames_min if mine is None else min(mine, other.frames_min)
        self._worst(other.worst_gap_p99_ms)
        for kind, count in other.errors.items():
            self.error(kind, other.examples.get(kind, ""), count)
        for name in _HISTOGRAMS:
            getattr(self, name).merge(getattr(other, name))

    def dump(self) -> dict[str, Any]:
        """Plain data, for another process; `load` is the inverse."""
        data = {field.name: getattr(self, field.name) for field in attrs.fields(Tally)}
        return {name: value.dump() if isinstance(value, Histogram) else value for name, value in data.items()}

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> Tally:
        """A tally from `dump`."""
        one = cls()
        for name, value in data.items():
            setattr(one, name, Histogram.load(value) if name in _HISTOGRAMS else value)
        return one

    def _worst(self, p99_ms: float | None) -> None:
        if p99_ms is not None:
            self.worst_gap_p99_ms = max(self.worst_gap_p99_ms or 0.0, p99_ms)


_SUMS = ("players", "full_clients", "rooms", "frames", "packets", "frame_bytes", "sent", "acknowledged", "lost",
         "duplicated", "reconnects", "fallbacks", "datagrams", "predicting", "compared", "cpu_s", "idle")  # fmt: skip
_HISTOGRAMS = ("gaps", "rtt", "late", "joins", "corrections")


def report(
    tally: Tally,
    *,
    seconds: float,
    transport: str,
    link: str = "",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The figures of a run whose window was `seconds` long; `before` and `after` are the server's own at its two ends.

    `frames_per_s`: distinct ticks that a player saw in the window, late ones too; a player who did not play counts as
    0. `frame_interval_ms`: between the arrivals of frames with increasing ticks at one client. `input_rtt_ms`: from
    an input's first sending to the frame that acknowledges it. `bytes_per_frame`: mean UDP payload (tcp: of the
    realtime packet, without framing and TLS). `inputs` count from joining to leaving. `link`: the conditions that the
    bots put on their link. `join_ms`: from when a bot was to come until it had its seat. `udp_share`: of the frames in
    the window, those that came by datagram; `fallbacks`: how often a bot moved to the control channel because
    datagrams did not pass, `reconnects`: how often one resumed its session. `generator_cpu_us_per_frame`: CPU time of
    the bots' own processes in the window, for each
    frame that came (and the input that went with it).
    `corrections`: of the few bots that predict (`predicting`), how far the server's word was from the
    prediction, in world units, over those of the `compared` frames that differed at all (`count`). What is not known
    (a server on another machine, nothing acknowledged) is null.
    """
    seconds = max(seconds, 1e-9)
    server, lateness = _server(before, after)
    result: dict[str, Any] = {
        "players": tally.players,
        "full_clients": tally.full_clients,
        "lean_clients": tally.players - tally.full_clients,
        "rooms": tally.rooms,
        "seconds": _short(seconds),
        "tick_hz": tally.tick_hz,
        "transport": transport,
        "link": link,
        "frames_per_s": {
            "min": _short((tally.frames_min or 0) / seconds),
            "mean": _short(tally.frames / max(1, tally.players) / seconds),
        },
        "frame_interval_ms": {
            "p50": _short(tally.gaps.percentile(0.50)),
            "p99": _short(tally.gaps.percentile(0.99)),
            "max": _short(tally.gaps.max_ms if tally.gaps.count() else None),
            "worst_client_p99": _short(tally.worst_gap_p99_ms),
        },
        "input_rtt_ms": {"p50": _short(tally.rtt.percentile(0.50)), "p99": _short(tally.rtt.percentile(0.99))},
        "join_ms": {
            "p50": _short(tally.joins.percentile(0.50)),
            "p99": _short(tally.joins.percentile(0.99)),
            "max": _short(tally.joins.max_ms if tally.joins.count() else None),
        },
        "bytes_per_frame": _short(tally.frame_bytes / tally.packets if tally.packets else None),
        "inputs": {name: getattr(tally, name) for name in ("sent", "acknowledged", "lost", "duplicated")},
        "udp_share": _short(tally.datagrams / tally.packets if tally.packets else None),
        "fallbacks": tally.fallbacks,
        "reconnects": tally.reconnects,
        "corrections": {
            "predicting": tally.predicting,
            "compared": tally.compared,
            "count": tally.corrections.count(),
            "p50": _short(tally.corrections.percentile(0.50)),
            "p99": _short(tally.corrections.percentile(0.99)),
            "max": _short(tally.corrections.max_ms if tally.corrections.count() else None),
        },
        "errors": dict(sorted(tally.errors.items())),
        "server": server,
        "tick_lateness_ms": lateness,
        "could_not_play": tally.idle,
        "generator_late_ms": {
            "p50": _short(tally.late.percentile(0.50)),
            "p99": _short(tally.late.percentile(0.99)),
            "max": _short(tally.late.max_ms),
        },
        "generator_cpu_us_per_frame": _short(tally.cpu_s * 1e6 / tally.packets if tally.packets else None),
        "warnings": [],
    }
    late_ms = tally.late.percentile(0.99)
    if tally.tick_hz and late_ms is not None and late_ms > 500 / tally.tick_hz:
        result["warnings"].append(
            f"the bots themselves were late (p99 {late_ms:.0f} ms): these are not the server's limits; use more "
            "--processes, fewer --players or a smaller --full-share"
        )
    return result


def _server(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    if before is None or after is None:
        return {"cpu_us_per_frame": None, "rss_mb": None}, {"p50": None, "p99": None, "max": None}
    frames = after["frames_sent"] - before["frames_sent"]
    cpu_us = (after["cpu_s"] - before["cpu_s"]) * 1e6
    server = {"cpu_us_per_frame": _short(cpu_us / frames if frames else None), "rss_mb": _short(after["rss_mb"])}
    return server, {name: _short(after["tick_lateness_ms"][name]) for name in ("p50", "p99", "max")}


def _short(value: float | None) -> float | None:
    """Three digits behind the point are enough for people."""
    return None if value is None else round(value, 3)


# -- conditions: --fail-if 'input_rtt_ms.p99>150' ----------------------------------------------------------------------

OPERATORS = ("<=", ">=", "==", "<", ">")


class BadCondition(ValueError):
    """A --fail-if that cannot be understood; one line with the remedy."""


@attrs.frozen
class Condition:
    """`path operator number` on a report."""

    text: str
    path: tuple[str, ...]
    operator: str
    limit: float

    def judge(self, result: Mapping[str, Any]) -> str | None:
        """Why the run fails by this condition; None when it does not. A figure that is not known fails, too."""
        value: Any = result
        for name in self.path:
            value = value.get(name, 0) if self.path[0] == "errors" else value[name]
        if value is None:
            return f"{self.text} (not known)"
        holds = {
            "<=": value <= self.limit,
            ">=": value >= self.limit,
            "==": value == self.limit,
            "<": value < self.limit,
            ">": value > self.limit,
        }[self.operator]
        return f"{self.text} (it is {value:g})" if holds else None


def parse_condition(text: str) -> Condition:
    """A condition such as `input_rtt_ms.p99>150`; raises BadCondition. Paths: those of a report, or `errors.KIND`."""
    operator = next((one for one in OPERATORS if one in text), None)
    if operator is None:
        raise BadCondition(f"{text!r} is no condition; an example: 'input_rtt_ms.p99>150'")
    name, _, number = (part.strip() for part in text.partition(operator))
    try:
        limit = float(number)
    except ValueError:
        raise BadCondition(f"{text!r}: {number!r} is no number") from None
    known = set(figures(report(Tally(), seconds=1.0, transport="udp")))
    if name not in known and not (name.startswith("errors.") and name[7:].isidentifier()):
        raise BadCondition(f"{text!r}: no figure {name!r}; there are: {', '.join(sorted(known))}")
    return Condition(text, tuple(name.split(".")), operator, limit)


def figures(result: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    """The dotted paths of all numbers of a report."""
    for name, value in result.items():
        if isinstance(value, Mapping):
            yield from figures(value, f"{prefix}{name}.")
        elif value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
            yield prefix + name
