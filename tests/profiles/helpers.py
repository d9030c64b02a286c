"""Makes results and log-ins with everything irrelevant filled in."""

from typing import Any

from profiles.model import MatchResult, device_hash


def secret(number: int) -> bytes:
    return number.to_bytes(16, "big")


def login(number: int, name: str = "") -> tuple[bytes, str]:
    return device_hash(secret(number)), name


def result(account: str, **fields: Any) -> MatchResult:
    fields = {"room": "r1", "match": 0, "game": "arena", "score": 10, "rank": 1, "players": 2, **fields}
    fields.setdefault("op_id", f"{fields['room']}:{fields['match']}:{account}")
    fields.setdefault("won", fields["rank"] == 1)
    fields.setdefault("stats", {"kills": 3})
    return MatchResult(account=account, ended_tick=600, **fields)
