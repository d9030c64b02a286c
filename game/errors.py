"""Typed errors of the game floor; each says in one line what was wrong and, where there is one, the remedy."""

from __future__ import annotations


class GameError(Exception):
    """Base of everything that this floor raises on bad input."""


class BadOption(GameError):
    """A game option that does not exist or lies outside its limits."""


class BadGame(GameError):
    """A game whose declaration breaks the contract of `game.api` (found when it is built, not at a tick)."""


class RoomFull(GameError):
    """No free seat is left in the room."""


class UnknownRoom(GameError):
    """The batch holds no room with that id."""


class BadRoomData(GameError):
    """Saved bytes of a room that are damaged, foreign, or of other rules (fingerprint)."""


class BadCommands(GameError):
    """Bytes that are no record of a tick's commands."""
