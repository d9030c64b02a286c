"""The judge of a history: did anything happen that must not? A pure function.

journals  one writer for each (room, epoch); epochs and ticks only grow; every tick once, none left out
replay    every hash as recorded
players   no tick seen that the journals do not have, none seen otherwise; ticks never go back to a higher epoch's start
inputs    every acknowledged one applied exactly once and in order
results   every one applied exactly once
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs

from bots.chaos.history import Entry, History, PlayerHistory
from bots.chaos.pauses import pauses, percentile

SAID_MAX = 50
"""Violations that are spelled out."""


@attrs.define
class Verdict:
    """What the judge found."""

    violations: list[str] = attrs.field(factory=list)
    acknowledged: int = 0
    lost: int = 0
    duplicated: int = 0
    rewound: int = 0
    double_hosts: int = 0
    rooms_lost: int = 0
    results_duplicated: int = 0
    pauses_ms: list[float] = attrs.field(factory=list)
    by_fault: list[dict[str, Any]] = attrs.field(factory=list)
    expected: int = 0
    applied: int = 0

    def say(self, text: str) -> None:
        """Note a violation."""
        self.violations.append(text)

    def report(self, faults: int) -> dict[str, Any]:
        """Plain data, as the command writes it."""
        pauses = sorted(self.pauses_ms)
        return {
            "faults": faults,
            "pauses_ms": {
                "count": len(pauses),
                "p50": percentile(pauses, 0.50),
                "p99": percentile(pauses, 0.99),
                "max": percentile(pauses, 1.0),
            },
            "inputs": {"acknowledged": self.acknowledged, "lost": self.lost, "duplicated": self.duplicated},
            "ticks_rewound": self.rewound,
            "double_hosts": self.double_hosts,
            "rooms_lost": self.rooms_lost,
            "results": {
                "expected": self.expected,
                "applied": self.applied,
                "duplicated": self.results_duplicated,
            },
            "by_fault": self.by_fault,
            "violations": self.violations[:SAID_MAX],
            "violations_count": len(self.violations),
        }


def check(history: History) -> Verdict:
    """Judge a history."""
    verdict = Verdict()
    _check_journals(history, verdict)
    for text in history.broken:
        verdict.say(text)
    _check_frames(history, verdict)
    _check_inputs(history, verdict)
    _check_results(history, verdict)
    _check_rooms(history, verdict)
    found = pauses(history)
    verdict.pauses_ms = [pause for _, _, pause in found]
    for fault in sorted(history.faults, key=lambda fault: fault.at):
        felt = sorted(pause for one, _, pause in found if one is fault)
        verdict.by_fault.append(
            {
                "kind": fault.kind,
                "node": fault.node,
                "rooms": len(fault.rooms),
                "lasted_s": round(fault.lasted_s, 1),
                "players": len(felt),
                "p50": percentile(felt, 0.50),
                "max": percentile(felt, 1.0),
            }
        )
    return verdict


def _check_journals(history: History, verdict: Verdict) -> None:
    by_room: dict[str, list[Entry]] = {}
    writers: dict[tuple[str, int], set[str]] = {}
    for entry in history.entries:
        by_room.setdefault(entry.room, []).append(entry)
        writers.setdefault((entry.room, entry.epoch), set()).add(entry.incarnation)
    for (room, epoch), names in sorted(writers.items()):
        if len(names) > 1:
            verdict.double_hosts += 1
            verdict.say(f"room {room} has {len(names)} writers in epoch {epoch}: {', '.join(sorted(names))}")
    for room, entries in sorted(by_room.items()):
        entries.sort(key=lambda entry: (entry.epoch, entry.tick))
        expected = 1
        for entry in entries:
            if entry.tick < expected:
                verdict.rewound += 1
                verdict.say(f"room {room} has tick {entry.tick} again in epoch {entry.epoch}")
            elif entry.tick > expected:
                verdict.say(f"room {room} goes from tick {expected - 1} to {entry.tick} in epoch {entry.epoch}")
            expected = max(expected, entry.tick + 1)


def _check_frames(history: History, verdict: Verdict) -> None:
    epoch_of = {(entry.room, entry.tick): entry.epoch for entry in history.entries}
    for player in history.players:
        newest: dict[str, tuple[int, int]] = {}
        for seen in player.seen:
            room, seat, _ = seen.seat
            told = history.told.get((room, seen.tick))
            if (room, seen.tick) not in epoch_of:
                verdict.say(f"{player.name} saw tick {seen.tick} of room {room}, which no journal has")
            elif epoch_of[room, seen.tick] != seen.epoch:
                verdict.say(
                    f"{player.name} saw tick {seen.tick} of room {room} in epoch {seen.epoch}; the journal made it in "
                    f"{epoch_of[room, seen.tick]}"
                )
            elif told is not None and seen.digest and told.digests.get(seat) != seen.digest:
                verdict.say(f"{player.name} saw tick {seen.tick} of room {room} otherwise than the journal has it")
            epoch, tick = newest.get(room, (0, -1))
            if seen.epoch > epoch and seen.tick <= tick:
                verdict.rewound += 1
                verdict.say(
                    f"{player.name} saw room {room} go back from tick {tick} to {seen.tick} with epoch {seen.epoch}"
                )
            newest[room] = max(epoch, seen.epoch), max(tick, seen.tick)


def _check_inputs(history: History, verdict: Verdict) -> None:
    applied: dict[Any, list[int]] = {}
    skipped: dict[Any, set[int]] = {}
    for (_, _), told in sorted(history.told.items()):
        for seat, seq in told.applied:
            applied.setdefault(seat, []).append(seq)
        for seat, first, last in told.skipped:
            skipped.setdefault(seat, set()).update(range(first, last + 1))
    for seat, sequence in sorted(applied.items()):
        for seq, times in sorted(Counter(sequence).items()):
            if times > 1:
                verdict.duplicated += times - 1
                verdict.say(f"input {seq} of seat {seat} was applied {times} times")
        if sorted(set(sequence)) != list(dict.fromkeys(sequence)):
            verdict.say(f"the inputs of seat {seat} were not applied in order")
    for player in history.players:
        for seat, acknowledged in sorted(acknowledged_by_seat(player).items()):
            verdict.acknowledged += acknowledged
            there = set(applied.get(seat, ())) | skipped.get(seat, set())
            missing = [seq for seq in range(1, acknowledged + 1) if seq not in there]
            if missing and history.told:
                verdict.lost += len(missing)
                verdict.say(
                    f"{player.name}: {len(missing)} acknowledged inputs of {seat} were never applied: {missing[:5]}"
                )


def acknowledged_by_seat(player: PlayerHistory) -> dict[Any, int]:
    """The highest sequence that frames have acknowledged, for each stay."""
    found: dict[Any, int] = {}
    for seen in player.seen:
        found[seen.seat] = max(found.get(seen.seat, 0), seen.last_seq)
    return found


def _check_results(history: History, verdict: Verdict) -> None:
    counted = Counter(history.results_applied)
    verdict.expected, verdict.applied = len(history.results_expected), len(counted)
    for op_id, times in sorted(counted.items()):
        if times > 1:
            verdict.results_duplicated += times - 1
            verdict.say(f"result {op_id} was applied {times} times")
    for op_id in sorted(history.results_expected - set(counted)):
        verdict.say(f"result {op_id} was never applied")
    for op_id in sorted(set(counted) - history.results_expected) if history.told else ():
        verdict.say(f"result {op_id} was applied, and no journal gives it")


def _check_rooms(history: History, verdict: Verdict) -> None:
    known = {entry.room for entry in history.entries}
    for room in sorted(known - history.rooms - history.closed):
        verdict.rooms_lost += 1
        verdict.say(f"room {room} is gone, and was never closed")
