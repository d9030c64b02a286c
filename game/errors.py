"""Typed errors of the game floor; each says in one line what was wrong and, where there is one, the remedy."""

from __future__ import annotations


class GameError(Exception):
    """Base of everything that this floor raises on bad input."""


class BadOption(GameError):
    """A game option that does not exist or lies outside its limits."""


class BadGame(GameError):
    """A game that breaks the contract of `game.api` or `game.objects`, in its declaration or in what a hook tells."""


class BadAct(GameError):
    """An act of a player that the game does not take; it is dropped and the room goes on."""


class StepOverran(GameError):
    """A game did not come back from a call in time; raised inside the call by whoever watches it."""


class SeatGone(GameError):
    """The seat that a returning player means is no longer that player's."""


class RoomFull(GameError):
    """No free seat is left in the room."""


class UnknownRoom(GameError):
    """The batch holds no room with that id."""


class BadRoomData(GameError):
    """Saved bytes of a room that are damaged, foreign, or of other rules (fingerprint)."""


class BadEvidence(GameError):
    """Bytes that are no evidence of a failed room."""


class NotDeterministic(GameError):
    """A game that made two different rooms of the same one (see `game.trial`)."""


class BadCommands(GameError):
    """Bytes that are no record of a tick's commands."""


TEXT_MAX = 300


GAME_FAULTS = (Exception, SystemExit)
"""What a game may raise and be quarantined for; the rest is for the process."""


def text_of(error: BaseException) -> str:
    """What an error of a game says, at most TEXT_MAX characters that can always be written, even when its own `__str__`
    raises."""
    try:
        text = str(error)
    except GAME_FAULTS:
        text = "(it has no text)"
    return text[:TEXT_MAX].encode("utf-8", "replace").decode()


def error_text(error: BaseException) -> str:
    """The same, with the type in front."""
    return f"{type(error).__name__}: {text_of(error)}"
