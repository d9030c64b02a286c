"""Holdfast: a stateful multiplayer game server whose rooms outlive their process.

These are the names that users import. They load when they are first used, because everything at once takes a
second and most programs need one of them::

    from holdfast import RowGame            # to write a game (or ObjectGame)
    from holdfast import connect            # to play on a server
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from game.api import Column, Event, Input, Option, Result, RowGame
    from game.objects import ObjectGame, Over, Private
    from game.trial import check_determinism
    from netcode.client import Client, ObjectRoom, SavedSession, SeatedRoom, connect
    from netcode.errors import RemoteError
    from server.settings import Settings

__version__ = "0.1.0"

__all__ = [
    "Client",
    "Column",
    "Event",
    "Input",
    "ObjectGame",
    "ObjectRoom",
    "Option",
    "Over",
    "Private",
    "RemoteError",
    "Result",
    "RowGame",
    "SavedSession",
    "SeatedRoom",
    "Settings",
    "__version__",
    "check_determinism",
    "connect",
]

HOMES = {
    "Client": "netcode.client",
    "Column": "game.api",
    "Event": "game.api",
    "Input": "game.api",
    "ObjectGame": "game.objects",
    "ObjectRoom": "netcode.client",
    "Option": "game.api",
    "Over": "game.objects",
    "Private": "game.objects",
    "RemoteError": "netcode.errors",
    "Result": "game.api",
    "RowGame": "game.api",
    "SavedSession": "netcode.client",
    "SeatedRoom": "netcode.client",
    "Settings": "server.settings",
    "check_determinism": "game.trial",
    "connect": "netcode.client",
}
"""Public name → the module that defines it."""


def __getattr__(name: str) -> object:
    if name not in HOMES:
        raise AttributeError(f"module 'holdfast' has no attribute {name!r}")
    value: object = getattr(import_module(HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *HOMES})
