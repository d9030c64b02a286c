from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles import model
from profiles.model import ProfileInputError, Standing
from tests.profiles.helpers import result


@given(st.integers(1, 300))
def test_rating_changes_of_a_match_cancel_out_and_fall_with_the_rank(players: int) -> None:
    changes = [model.rating_change(rank, players) for rank in range(1, players + 1)]
    assert sum(changes) == 0
    assert changes == sorted(changes, reverse=True)
    assert changes[0] == (16 if players > 1 else 0)


def test_advance_follows_the_documented_rule() -> None:
    first = model.advance(Standing(), result("a", rank=1, players=4, score=-5))
    assert first == Standing(rating=1016, xp=10 + 5 * 3 + 25, matches=1, wins=1, best=-5)
    second = model.advance(first, result("a", rank=4, players=4, score=-9))
    assert second == Standing(rating=1000, xp=60, matches=2, wins=1, best=-5)


def test_rating_has_a_floor() -> None:
    assert model.advance(Standing(rating=3), result("a", rank=2, players=2)).rating == 0


def test_stats_are_summed_by_name() -> None:
    assert model.sum_stats({"kills": 2, "deaths": 1}, {"kills": 3, "falls": 4}) == {
        "kills": 5,
        "deaths": 1,
        "falls": 4,
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("op_id", ""),
        ("op_id", "x" * 129),
        ("room", "a\nb"),
        ("account", 7),
        ("match", -1),
        ("match", True),
        ("score", 2**53),
        ("score", 1.5),
        ("rank", 0),
        ("rank", 3),
        ("players", 0),
        ("won", 1),
        ("stats", {"kills": "many"}),
        ("stats", {f"s{number}": 1 for number in range(33)}),
        ("stats", [1]),
    ],
)
def test_a_result_against_the_rules_is_refused(field: str, value: Any) -> None:
    fields: dict[str, Any] = {"account": "a", "players": 2, "op_id": "op"} | {field: value}
    if field == "players":
        fields["rank"] = 1
    with pytest.raises(ProfileInputError, match=field):
        result(**fields)


@pytest.mark.parametrize(
    ("given_name", "kept"),
    [
        ("Ada", "Ada"),
        ("  Ada \t Lovelace ", "Ada Lovelace"),
        ("", ""),
        (" \n", ""),
        ("Ｗｉｄｅ", "Wide"),  # noqa: RUF001
        ("Zoë 🎯", "Zoë 🎯"),
        ("x" * 32, "x" * 32),
    ],
)
def test_clean_name(given_name: str, kept: str) -> None:
    assert model.clean_name(given_name) == kept


@pytest.mark.parametrize("name", ["x" * 33, "x" * 10_000, "a\x00b", "a\u202eb", "a\ud800", "\ufdfa" * 3])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(ProfileInputError, match="name"):
        model.clean_name(name)


@given(st.text(max_size=40))
def test_clean_name_is_idempotent_or_refuses(name: str) -> None:
    try:
        kept = model.clean_name(name)
    except ProfileInputError:
        return
    assert model.clean_name(kept) == kept
    assert len(kept) <= 32


def test_device_hash_is_stable_and_hides_the_secret() -> None:
    one = model.device_hash(b"0123456789abcdef")
    # A fixed vector: another hash would lock every guest out.
    assert one.hex() == "f6abecbbcdb49728dfc9d77a2c151e0a4f212099419add3da10b9efd1168c161"
    assert b"0123456789abcdef" not in one


@pytest.mark.parametrize("secret", [b"", b"x" * 15, b"x" * 65, "x" * 16])
def test_device_secrets_of_the_wrong_size_or_type_are_refused(secret: Any) -> None:
    with pytest.raises(ProfileInputError, match="16 to 64 bytes"):
        model.device_hash(secret)


@pytest.mark.parametrize("limit", [0, -1, 1001, True, 2.0])
def test_limits_are_checked(limit: Any) -> None:
    with pytest.raises(ProfileInputError, match="limit"):
        model.check_query(limit)


def test_an_unknown_board_names_the_known() -> None:
    with pytest.raises(ProfileInputError, match="rating, xp, wins, best"):
        model.check_query(10, "fame")
