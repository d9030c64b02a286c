"""The reference game: a top-down shooter that is fun in a browser."""

from __future__ import annotations

from game.arena.rules import Arena

__all__ = ["Arena"]
