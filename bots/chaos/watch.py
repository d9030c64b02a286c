"""Looking on: what players see, and which nodes live with which rooms, as the cluster's store has it.

The store is read by a handle of our own, so a look tells the nodes nothing and waits for none of them.
"""

from __future__ import annotations

from bots.bot import Bot
from bots.chaos.history import PlayerHistory, Seen, digest_of
from cluster.model import Member, RoomEntry
from cluster.store import Store
from netcode.frame import Frame


class Recorder:
    """Writes down every frame that a bot reads; with `digests` what it showed, too."""

    def __init__(self, bot: Bot, player: PlayerHistory, *, digests: bool = True) -> None:
        self._bot, self._player, self._digests = bot, player, digests

    def __call__(self, frame: Frame, now: float) -> None:
        digest = digest_of([*frame.shared, *frame.own]) if self._digests and frame.shared else 0
        self._player.seen.append(Seen(now, self._bot.seat, frame.epoch, frame.tick, frame.last_seq, digest))


async def living(store: Store) -> list[Member]:
    """The incarnations that are not sealed and whose processes live on this machine. Raises ClusterError."""
    return [member for member in await store.journals.members() if lives(store, member)]


def lives(store: Store, member: Member) -> bool:
    """Whether an incarnation is not sealed, and its process lives on this machine. Raises ClusterError."""
    return not member.sealed and bool(store.alive(member.incarnation))


async def owned(store: Store, members: list[Member]) -> dict[str, list[RoomEntry]]:
    """The rooms of each incarnation. Raises ClusterError."""
    return {member.incarnation: await store.rooms.owned_by(member.incarnation) for member in members}
