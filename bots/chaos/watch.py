"""Looking on: what players see, and which nodes live with which rooms, as the cluster's store has it.

The store is read by a handle of our own, so a look tells the nodes nothing and waits for none of them.
"""

from __future__ import annotations

import attrs

from bots.bot import Bot
from bots.chaos.history import PlayerHistory, Seen, digest_of
from cluster.model import Member, RoomEntry
from cluster.store import Store
from game.view import ViewLayout
from netcode import messages
from netcode.frame import Frame, FrameDecoder


class Recorder:
    """Writes down every frame that a bot gets; without `keep` its header alone. What it showed is read later, from its
    bytes: with all of it read at once, 120 bots take a core, and the pauses that they measure are their own."""

    def __init__(self, bot: Bot, player: PlayerHistory, *, keep: bool = True) -> None:
        self._bot, self._player = bot, player
        self._tape: list[messages.Seated | tuple[int, bytes]] = []
        """Seats, and frames with their places in `player.seen`."""
        self._keep = keep
        bot.on_frame = self._frame
        if keep:
            bot.on_seated = self._tape.append

    def _frame(self, frame: Frame, data: bytes, now: float) -> None:
        if self._keep:
            self._tape.append((len(self._player.seen), data))
        self._player.seen.append(Seen(now, self._bot.seat, frame.epoch, frame.tick, frame.last_seq, 0))

    def read(self) -> None:
        """Read all frames: what they showed goes into the player's history. Raises BadFrame."""
        decoder: FrameDecoder | None = None
        for item in self._tape:
            if isinstance(item, messages.Seated):
                layout = ViewLayout.from_description(item.view)
                decoder = FrameDecoder(layout, item.stream, item.epoch, item.tick, item.last_seq)
            elif decoder is not None:
                at, data = item
                frame = decoder.receive(data)
                if frame is not None:
                    digest = digest_of([*frame.shared, *frame.own])
                    self._player.seen[at] = attrs.evolve(self._player.seen[at], digest=digest)
        self._tape.clear()


async def living(store: Store) -> list[Member]:
    """The incarnations that are not sealed and whose processes live on this machine. Raises ClusterError."""
    return [member for member in await store.journals.members() if lives(store, member)]


def lives(store: Store, member: Member) -> bool:
    """Whether an incarnation is not sealed, and its process lives on this machine. Raises ClusterError."""
    return not member.sealed and bool(store.alive(member.incarnation))


async def owned(store: Store, members: list[Member]) -> dict[str, list[RoomEntry]]:
    """The rooms of each incarnation. Raises ClusterError."""
    return {member.incarnation: await store.rooms.owned_by(member.incarnation) for member in members}
