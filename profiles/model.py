"""What a profile is and what a match result does to it: pure, no clock, no store.

A result changes a profile once. Its operation id names what happened (room, match, player) and not who
reports it, so the node that takes a room over regenerates the same id, and the store, which keeps every id,
ignores the repeat.

| field | what one result does |
|---|---|
| `rating` | + `rating_change(rank, players)`: 16 for the first, -16 for the last, linear between; min 0 |
| `xp` | + 10 for having played, + 5 for each player ranked behind, + 25 for a win |
| `matches`, `wins` | + 1, + 1 when won |
| `best` | the highest score so far |
| `stats` | summed name by name |

The rating looks at no opponent's rating, so the order in which results arrive does not matter (but at the
floor of 0).
"""

import hashlib
import unicodedata
from collections.abc import Mapping
from typing import Any, TypeVar

import attrs

SECRET_BYTES_MIN, SECRET_BYTES_MAX = 16, 64
NAME_CHARS_MAX = 32
KEY_CHARS_MAX = 128  # op_id, room, account, game
STATS_MAX = 32  # names in one result
INT_MAX = 2**53 - 1  # what JSON readers of every language keep exactly
BOARDS = ("rating", "xp", "wins", "best")
LIMIT_MAX = 1000  # rows of one history or leaderboard answer
RATING_START, RATING_SWING = 1000, 16
XP_PLAYED, XP_PER_BEATEN, XP_WON = 10, 5, 25


class ProfileError(Exception):
    """Base of all that this package raises on purpose; the message is one line for a person."""


class ProfileInputError(ProfileError, ValueError):
    """The caller's value breaks a rule (secret, name, result, board, limit). Repeating it will not help."""


class ProfileNotFound(ProfileError, LookupError):
    """No account has that id."""


class ProfileStoreError(ProfileError):
    """The store cannot be opened, read or written; the message names the remedy."""


class ProfileStoreBusy(ProfileStoreError):
    """Too much is waiting, or another process holds the file: nothing was done; try again a little later."""


def _require(ok: bool, message: str) -> None:
    if not ok:
        raise ProfileInputError(message)


def _is_int(value: object, low: int = -INT_MAX, high: int = INT_MAX) -> bool:
    return type(value) is int and low <= value <= high


def _is_key(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= KEY_CHARS_MAX and value.isprintable()


@attrs.frozen(kw_only=True)
class MatchResult:
    """How one player's match ended. Raises ProfileInputError when a field breaks its limit."""

    op_id: str  # from (room, match, player), never from the epoch
    room: str
    match: int  # number of the match in its room, from 0
    account: str
    game: str
    score: int
    rank: int  # 1 = first; ties share a rank
    players: int
    won: bool
    stats: dict[str, int] = attrs.field(factory=dict)  # at most STATS_MAX small counters, such as kills
    ended_tick: int

    def __attrs_post_init__(self) -> None:
        for field in ("op_id", "room", "account", "game"):
            _require(
                _is_key(getattr(self, field)),
                f"match result: {field} must be 1 to {KEY_CHARS_MAX} printable characters",
            )
        for field, low in (("match", 0), ("score", -INT_MAX), ("ended_tick", 0)):
            _require(
                _is_int(getattr(self, field), low),
                f"match result: {field} must be a whole number from {low} to {INT_MAX}",
            )
        _require(_is_int(self.players, 1, 2**16), "match result: players must be a whole number from 1 to 65536")
        _require(_is_int(self.rank, 1, self.players), "match result: rank must be from 1 to the number of players")
        _require(type(self.won) is bool, "match result: won must be true or false")
        _require(
            type(self.stats) is dict
            and len(self.stats) <= STATS_MAX
            and all(_is_key(name) and _is_int(value) for name, value in self.stats.items()),
            f"match result: stats must be at most {STATS_MAX} whole numbers by name",
        )


@attrs.frozen(kw_only=True)
class MatchRow:
    """One line of a player's history: the result as it was applied, and when (unix seconds)."""

    op_id: str
    room: str
    match: int
    game: str
    score: int
    rank: int
    players: int
    won: bool
    stats: Mapping[str, int]
    ended_tick: int
    applied_s: float


@attrs.frozen(kw_only=True)
class Standing:
    """What results add up to; kept for each account over all games (in its profile) and for each game."""

    rating: int = RATING_START
    xp: int = 0
    matches: int = 0
    wins: int = 0
    best: int = 0  # highest score; 0 before the first match


@attrs.frozen(kw_only=True)
class Profile(Standing):
    """A player as the others and the games know them. `version` grows with every change."""

    account: str
    name: str
    stats: Mapping[str, int] = attrs.field(factory=dict)
    settings: Mapping[str, Any] = attrs.field(factory=dict)
    inventory: Mapping[str, Any] = attrs.field(factory=dict)
    version: int = 1
    created_s: float  # unix seconds
    updated_s: float


@attrs.frozen(kw_only=True)
class LeaderboardRow:
    """One line of a leaderboard; equal values share a rank (1, 2, 2, 4)."""

    rank: int
    account: str
    name: str
    value: int  # in the board's unit
    matches: int


S = TypeVar("S", bound=Standing)


def rating_change(rank: int, players: int) -> int:
    """Points for `rank` (1 = first) among `players`: linear, 0 when summed over all ranks, 0 when alone."""
    if players < 2:
        return 0
    beaten = players + 1 - 2 * rank  # players behind minus players ahead
    points = RATING_SWING * abs(beaten) // (players - 1)
    return points if beaten > 0 else -points


def advance(standing: S, result: MatchResult) -> S:
    """`standing` after one more result; a profile's stats, version and times are the caller's business."""
    first = standing.matches == 0
    gained = XP_PLAYED + XP_PER_BEATEN * (result.players - result.rank) + XP_WON * result.won
    return attrs.evolve(
        standing,
        rating=max(0, standing.rating + rating_change(result.rank, result.players)),
        xp=standing.xp + gained,
        matches=standing.matches + 1,
        wins=standing.wins + result.won,
        best=result.score if first else max(standing.best, result.score),
    )


def sum_stats(stats: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    return {name: stats.get(name, 0) + more.get(name, 0) for name in {**stats, **more}}


def clean_name(name: str) -> str:
    """A display name as it is kept: Unicode NFKC, blanks collapsed; "" when nothing was given.

    Names need not be unique. Raises ProfileInputError when longer than NAME_CHARS_MAX or with control,
    formatting (such as a change of writing direction) or unassigned characters.
    """
    _require(isinstance(name, str), "name must be text")
    # Bounded before the work: NFKC can make one character eighteen.
    _require(len(name) <= 4 * NAME_CHARS_MAX, f"name is longer than {NAME_CHARS_MAX} characters")
    kept = " ".join(unicodedata.normalize("NFKC", name).split())
    _require(len(kept) <= NAME_CHARS_MAX, f"name is longer than {NAME_CHARS_MAX} characters")
    _require(
        not any(unicodedata.category(char).startswith("C") for char in kept),
        "name has control or formatting characters",
    )
    return kept


def guest_name(account: str) -> str:
    """The name of a guest who gave none."""
    return f"guest-{account[:6]}"


def device_hash(secret: bytes) -> bytes:
    """The 32 bytes kept of a device secret: BLAKE2b (RFC 7693) in a domain of its own.

    Not slow on purpose: the secret is random bytes made by a device, not a password, so there is nothing to
    guess. Raises ProfileInputError unless the secret is 16 to 64 bytes.
    """
    _require(
        type(secret) is bytes and SECRET_BYTES_MIN <= len(secret) <= SECRET_BYTES_MAX,
        f"device secret must be {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes",
    )
    return hashlib.blake2b(secret, digest_size=32, person=b"holdfast-device1").digest()


def check_query(limit: int, board: str = BOARDS[0]) -> None:
    """Raises ProfileInputError unless `limit` is 1 to LIMIT_MAX and `board` is one of BOARDS."""
    _require(_is_int(limit, 1, LIMIT_MAX), f"limit must be from 1 to {LIMIT_MAX}")
    _require(board in BOARDS, f"unknown leaderboard {board!r}: use one of {', '.join(BOARDS)}")
