"""Accounts, profiles, match results and leaderboards: the part of Holdfast that outlives every room.

| file | holds |
|---|---|
| `model` | pure: what a profile and a match result are, what a result does to a profile, name rules, errors |
| `tables` | the schema as SQLAlchemy tables, one for all engines |
| `migrations` | the same schema as the steps that lead to it |
| `engine_sqlite` | opening a SQLite file: pragmas, migration, refusal of what is not ours, plain errors |
| `store` | one transaction a call, synchronous |
| `service` | `Profiles`, which the server uses: asynchronous, one worker thread, group commit |

Importing this package loads none of them (SQLAlchemy takes a quarter of a second): names load on use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from profiles.model import (
        LeaderboardRow,
        MatchResult,
        MatchRow,
        Profile,
        ProfileError,
        ProfileInputError,
        ProfileNotFound,
        ProfileStoreBusy,
        ProfileStoreError,
    )
    from profiles.service import Profiles

__all__ = [
    "LeaderboardRow",
    "MatchResult",
    "MatchRow",
    "Profile",
    "ProfileError",
    "ProfileInputError",
    "ProfileNotFound",
    "ProfileStoreBusy",
    "ProfileStoreError",
    "Profiles",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "profiles.service" if name == "Profiles" else "profiles.model"
    return getattr(import_module(module), name)
