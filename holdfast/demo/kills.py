"""The demo's kills, and what they meant to its players: a pure account.

    hit ─► its rooms are others', at a higher epoch ─► every player sees a tick there ─► settled: pauses known

A pause is what a player has waited: from the last new tick that came from the node that was killed to the first new one
from its successor (`bots.chaos.pauses`, as `holdfast chaos` measures it).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from bots.chaos.history import Fault, PlayerHistory
from bots.chaos.pauses import AFTER_S, percentile, wait_ms

if TYPE_CHECKING:
    from holdfast.demo.picture import Room

KEPT, KEPT_MAX = 8, 64
"""Frames that are kept of each player while no kill is open; cut back to the first when there are as many as the
second."""


@attrs.define(eq=False)
class Kill:
    """One node that was killed."""

    fault: Fault
    epochs: Mapping[str, int]
    """Of its rooms, when it was hit."""
    homes: dict[str, str] = attrs.field(factory=dict)
    """Room → the node that runs it since."""
    players: int = 0
    """Seated in its rooms."""
    pauses_ms: list[float] = attrs.field(factory=list)
    """Of those who are back, shortest first."""
    settled: bool = False

    def look(self, now: float, until: float, players: Sequence[PlayerHistory], rooms: Mapping[str, Room]) -> bool:
        """See how far it has come; whether it has settled. Waits that begin behind `until` are another kill's."""
        for room, epoch in self.epochs.items():
            there = rooms.get(room)
            if there is not None and there.epoch > epoch and there.runs:
                self.homes.setdefault(room, there.node)
        pauses, self.players = [], 0
        for player in players:
            waited = wait_ms(player.seen, self.fault, until)
            if waited is not None:
                self.players += 1
                if self._is_back(player):
                    pauses.append(waited)
        self.pauses_ms = sorted(pauses)
        here = all(room in self.homes for room in self.epochs if room in rooms)
        self.settled = (here and len(pauses) == self.players) or now >= self.fault.at + AFTER_S
        return self.settled

    def _is_back(self, player: PlayerHistory) -> bool:
        """Whether it has seen what a successor of the node shows of its room."""
        room, epoch = next((seen.seat[0], seen.epoch) for seen in reversed(player.seen) if seen.seat[0] in self.epochs)
        return epoch > self.epochs[room]

    def struck(self) -> str:
        """One line: what is being done."""
        return f"{self.fault.node} gets SIGKILL: {_count(len(self.epochs), 'room')} to move"

    def told(self, *, homes: bool = True) -> str:
        """One line: what became of it so far; with `homes` where its rooms are now."""
        name, rooms = f"{self.fault.node} killed", len(self.epochs)
        if not rooms:
            return f"{name}: it had no rooms, nobody waited"
        moved = f"{_count(len(self.homes), 'room')} moved"
        if homes and self.homes:
            counted = sorted(Counter(self.homes.values()).items())
            moved += f" ({', '.join(f'{count} to {node}' for node, count in counted)})"
        if len(self.homes) < rooms:
            moved += f", {rooms - len(self.homes)} not yet"
        if not self.players:
            return f"{name}: {moved}, nobody was there"
        if not self.pauses_ms:
            return f"{name}: {moved}, {_count(self.players, 'player')} waiting"
        waited = f"{_count(len(self.pauses_ms), 'player')} waited {_pauses(self.pauses_ms)}"
        left = self.players - len(self.pauses_ms)
        return f"{name}: {moved}, {waited}" + (f"; {left} waiting" if left else "")


class Kills:
    """All of a demo's, and the frames of its players, as long as they are needed."""

    def __init__(self) -> None:
        self.players: list[PlayerHistory] = []
        self.all: list[Kill] = []

    def hit(self, node: str, incarnation: str, epochs: Mapping[str, int], at: float) -> Kill:
        """A node is being killed; `epochs` are those of its rooms."""
        kill = Kill(Fault(at, "kill", node, incarnation, tuple(epochs)), epochs)
        self.all.append(kill)
        return kill

    def look(self, now: float, rooms: Mapping[str, Room]) -> list[Kill]:
        """See how far they have come; those that have settled since the last look."""
        settled = []
        for number, kill in enumerate(self.all):
            if not kill.settled:
                following = self.all[number + 1].fault.at if number + 1 < len(self.all) else now
                until = min(following, kill.fault.at + AFTER_S)
                if kill.look(now, until, self.players, rooms):
                    settled.append(kill)
        if all(kill.settled for kill in self.all):
            for player in self.players:
                if len(player.seen) > KEPT_MAX:
                    del player.seen[:-KEPT]
        return settled

    def summary(self) -> str:
        """The last word: how many, how many rooms, and the pauses of all."""
        if not self.all:
            return "no node was killed"
        pauses = sorted(pause for kill in self.all for pause in kill.pauses_ms)
        text = (
            f"{_count(len(self.all), 'node')} killed, {_count(sum(len(kill.homes) for kill in self.all), 'room')} moved"
        )
        if pauses:
            text += f", {_count(len(pauses), 'pause')}: {_pauses(pauses)}"
        left = sum(kill.players - len(kill.pauses_ms) for kill in self.all)
        return text + (f"; {_count(left, 'player')} still waiting" if left else "")


def _pauses(ordered: Sequence[float]) -> str:
    return f"p50 {percentile(ordered, 0.5):,.0f} ms, max {ordered[-1]:,.0f} ms"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
