from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import attrs
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles import model
from profiles.model import Profile, ProfileNotFound, Standing
from profiles.store import Store
from tests.effort import examples
from tests.profiles.helpers import login, result, secret

_numbers = count(1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "p.db")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """For Hypothesis: each example uses accounts of its own."""
    opened = Store.open(tmp_path_factory.mktemp("shared") / "p.db")
    yield opened
    opened.close()


def _guest(store: Store, name: str = "") -> Profile:
    return store.guests([login(next(_numbers), name)], 1.0)[0]


def test_a_new_guest_starts_with_the_documented_profile(store: Store) -> None:
    profile = store.guests([login(1, "Ada")], 5.0)[0]
    assert profile == Profile(account=profile.account, name="Ada", created_s=5.0, updated_s=5.0)
    assert len(bytes.fromhex(profile.account)) == 16
    assert (profile.rating, profile.xp, profile.matches, profile.version) == (1000, 0, 0, 1)
    assert store.profile(profile.account) == profile


def test_the_same_secret_is_the_same_account_also_within_one_group(store: Store) -> None:
    first, again, other = store.guests([login(1, "Ada"), login(1), login(2)], 5.0)
    assert first == again
    assert other.account != first.account
    assert store.guests([login(1)], 9.0) == [first]
    assert store.count() == 2


def test_a_name_is_changed_by_another_and_kept_by_none(store: Store) -> None:
    account = store.guests([login(1, "Ada")], 5.0)[0].account
    assert store.guests([login(1, "")], 6.0)[0].name == "Ada"
    renamed = store.guests([login(1, "Bea"), login(1, "")], 7.0)
    assert renamed[0] == renamed[1] == store.profile(account)
    assert (renamed[0].name, renamed[0].version, renamed[0].updated_s) == ("Bea", 2, 7.0)


def test_a_guest_without_a_name_gets_one(store: Store) -> None:
    profile = store.guests([login(1)], 5.0)[0]
    assert profile.name == f"guest-{profile.account[:6]}"


def test_more_guests_than_fit_one_query(store: Store) -> None:
    logins = [login(number, f"n{number}") for number in range(1201)]
    made = store.guests(logins, 1.0)
    assert [profile.name for profile in made] == [name for _, name in logins]
    assert store.guests(logins, 2.0) == made
    assert store.count() == 1201


def test_no_secret_is_in_the_file(store: Store, tmp_path: Path) -> None:
    store.guests([login(77, "Ada")], 5.0)
    files = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"Ada" in files
    assert secret(77) not in files


def test_a_result_changes_profile_standing_and_history_once(store: Store) -> None:
    account = _guest(store, "Ada").account
    won = result(account, score=7, players=3, stats={"kills": 2})
    assert store.apply([[won]], 8.0) == [1]
    after = store.profile(account)
    assert Standing(
        rating=after.rating, xp=after.xp, matches=after.matches, wins=after.wins, best=after.best
    ) == model.advance(Standing(), won)
    assert (after.stats, after.version, after.updated_s) == ({"kills": 2}, 2, 8.0)
    assert store.apply([[won, won], [won]], 9.0) == [0, 0]
    assert store.profile(account) == after
    (row,) = store.history(account, 10)
    assert row.applied_s == 8.0
    assert {**attrs.asdict(row), "account": account} == {**attrs.asdict(won), "applied_s": 8.0}


def test_repeats_within_and_between_the_batches_of_a_group_count_for_the_first(store: Store) -> None:
    ada, bea = _guest(store).account, _guest(store).account
    a, b = result(ada), result(bea, rank=2)
    assert store.apply([[], [a, a], [a, b]], 1.0) == [0, 1, 1]
    assert store.profile(ada).matches == store.profile(bea).matches == 1


def test_a_result_of_an_unknown_account_is_recorded_and_holds_up_nobody(store: Store) -> None:
    ada = _guest(store).account
    batch = [result("erased"), result(ada, rank=2)]
    assert store.apply([batch], 1.0) == [2]
    assert store.apply([batch], 1.0) == [0]
    assert store.profile(ada).matches == 1
    assert len(store.history("erased", 10)) == 1
    with pytest.raises(ProfileNotFound, match="erased"):
        store.profile("erased")


def test_a_batch_that_fails_in_the_middle_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ada, bea = _guest(store), _guest(store)

    def fails_for_bea(stats: object, more: dict[str, int]) -> dict[str, int]:
        if "bad" in more:
            raise ZeroDivisionError
        return more

    batch = [result(ada.account), result(bea.account, rank=2, stats={"bad": 1})]
    with monkeypatch.context() as patch:
        patch.setattr(model, "sum_stats", fails_for_bea)
        with pytest.raises(ZeroDivisionError):
            store.apply([batch], 1.0)
    assert store.profile(ada.account) == ada
    assert store.history(ada.account, 10) == []
    assert store.apply([batch], 1.0) == [2]


@settings(max_examples=examples(20), deadline=None)
@given(
    st.lists(  # groups of batches of (player, match); what is drawn twice is a repeat
        st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=6), max_size=3),
        max_size=5,
    )
)
def test_any_batches_with_repeats_apply_each_operation_once(
    shared_store: Store, groups: list[list[list[tuple[int, int]]]]
) -> None:
    players = [_guest(shared_store) for _ in range(4)]
    expected, seen = {profile.account: profile for profile in players}, set()
    for group in groups:
        batches = [
            [
                result(players[player].account, match=match, rank=player + 1, players=4, score=match * 3 - player)
                for player, match in batch
            ]
            for batch in group
        ]
        fresh = []
        for batch in batches:
            new = {entry.op_id: entry for entry in batch if entry.op_id not in seen}
            seen |= set(new)
            fresh.append(len(new))
            for entry in new.values():
                after = model.advance(expected[entry.account], entry)
                expected[entry.account] = attrs.evolve(after, stats={"kills": 3 * after.matches})
        assert shared_store.apply(batches, 2.0) == fresh
    for account, profile in expected.items():
        found = shared_store.profile(account)
        assert attrs.evolve(found, version=1, updated_s=1.0) == profile
        assert len(shared_store.history(account, 10)) == profile.matches


def test_history_is_newest_first_and_limited(store: Store) -> None:
    account = _guest(store).account
    for match in range(5):
        store.apply([[result(account, match=match)]], 10.0 + match)
    store.apply([[result(account, match=5), result(account, match=6)]], 20.0)
    assert [row.match for row in store.history(account, 4)] == [6, 5, 4, 3]
    assert store.history("nobody", 4) == []


def test_leaderboard_ranks_those_who_played_and_shares_ranks(store: Store) -> None:
    ada, bea, cyd, _idle = (_guest(store, name).account for name in ("Ada", "Bea", "Cyd", "Idle"))
    store.apply([[result(ada, score=9), result(bea, score=9), result(cyd, score=4, rank=2)]], 1.0)
    rows = store.leaderboard("best", 10, None)
    assert [(row.rank, row.value) for row in rows] == [(1, 9), (1, 9), (3, 4)]
    assert {row.name for row in rows[:2]} == {"Ada", "Bea"}
    assert (rows[2].name, rows[2].account, rows[2].matches) == ("Cyd", cyd, 1)
    assert len(store.leaderboard("rating", 2, None)) == 2


def test_leaderboard_of_one_game_counts_only_that_game(store: Store) -> None:
    ada, bea = _guest(store, "Ada").account, _guest(store, "Bea").account
    store.apply([[result(ada, match=match) for match in range(3)]], 1.0)
    store.apply([[result(bea, match=match, game="tag") for match in range(2)]], 1.0)
    store.apply([[result(ada, match=9, game="tag", rank=2)]], 1.0)
    assert [(row.name, row.value) for row in store.leaderboard("wins", 10, None)] == [("Ada", 3), ("Bea", 2)]
    assert [(row.name, row.value, row.matches) for row in store.leaderboard("wins", 10, "tag")] == [
        ("Bea", 2, 2),
        ("Ada", 0, 1),
    ]
    assert store.leaderboard("rating", 10, "chess") == []


@pytest.mark.parametrize("game", [None, "arena"])
@pytest.mark.parametrize("board", model.BOARDS)
def test_leaderboards_read_an_index_and_sort_nothing(store: Store, board: str, game: str | None) -> None:
    plans = []

    def explain(_db: object, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        if statement.startswith("SELECT"):
            plans.append(str(cursor.execute("EXPLAIN QUERY PLAN " + statement, parameters).fetchall()))

    sa.event.listen(store.engine, "before_cursor_execute", explain)
    store.leaderboard(board, 5, game)
    (plan,) = plans
    assert (f"ix_profiles_{board}_account" if game is None else f"ix_standings_game_{board}_account") in plan
    assert "TEMP B-TREE" not in plan
