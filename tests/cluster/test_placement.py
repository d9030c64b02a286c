"""Placement: everybody thinks the same, and nothing moves without a cause."""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st

from cluster.placement import BOUND, STEP_S, place, rank, shares
from tests.cluster.helpers import entry, member

NAMES = st.lists(st.text("abcdefgh", min_size=1, max_size=4), min_size=1, max_size=6, unique=True)
ROOMS = st.text("0123456789abcdef", min_size=1, max_size=16)


@given(ROOMS, NAMES, st.randoms())
def test_the_order_does_not_depend_on_who_asks(room: str, names: list[str], chance: object) -> None:
    shuffled = sorted(names, key=lambda name: hash((name, str(chance))))
    assert rank(room, names) == rank(room, shuffled)
    assert sorted(rank(room, names)) == sorted(names)


@given(st.lists(ROOMS, min_size=1, max_size=40, unique=True), NAMES)
def test_when_a_node_goes_only_its_rooms_move(rooms: list[str], names: list[str]) -> None:
    gone = names[0]
    for room in rooms if len(names) > 1 else ():
        before = rank(room, names)[0]
        after = rank(room, names[1:])[0]
        assert after == before or before == gone


def test_rooms_are_spread_and_nobody_has_much_more_than_the_mean() -> None:
    members = {name: member(name) for name in "abc"}
    by_incarnation = {m.incarnation: name for name, m in members.items()}
    for number in range(300):
        chosen = place(f"room-{number}", list(members.values()))
        assert chosen is not None
        name = by_incarnation[chosen]
        members[name] = attrs.evolve(members[name], rooms=members[name].rooms + 1)
    most = max(one.rooms for one in members.values())
    assert most <= BOUND * 100 + 1


def test_who_leaves_or_is_dead_gets_nothing() -> None:
    a, b, c = member("a"), member("b"), member("c")
    busy = [a, attrs.evolve(b, draining=True), attrs.evolve(c, sealed=True)]
    assert {place(f"room-{number}", busy) for number in range(50)} == {a.incarnation}
    assert place("room", [attrs.evolve(a, draining=True)]) is None
    assert place("room", []) is None


def test_a_full_node_is_passed_over() -> None:
    full, free = attrs.evolve(member("a"), players=1000), member("b")
    assert {place(f"room-{number}", [full, free]) for number in range(50)} == {free.incarnation}


@given(st.lists(st.tuples(ROOMS, st.integers(0, 16)), min_size=1, max_size=30, unique_by=lambda one: one[0]))
def test_survivors_share_the_rooms_of_a_dead_node_and_one_of_them_is_first(rooms: list[tuple[str, int]]) -> None:
    survivors = [member("b"), attrs.evolve(member("c"), rooms=3, players=20), member("d")]
    entries = [entry(room, "a.1", players=players) for room, players in rooms]
    waits: dict[str, list[float]] = {}
    for one in survivors:
        mine = shares(entries, survivors, one.incarnation)
        assert [e.players for e, _ in mine] == sorted((e.players for e in entries), reverse=True)
        for found, wait in mine:
            waits.setdefault(found.room, []).append(wait)
    assert all(sorted(some) == [0.0, STEP_S, 2 * STEP_S] for some in waits.values())
    assert len(waits) == len(rooms)


def test_who_is_leaving_takes_rooms_only_when_nobody_else_does() -> None:
    leaving, other = attrs.evolve(member("b"), draining=True), member("c")
    ((_, wait),) = shares([entry("r", "a.1")], [leaving, other], leaving.incarnation)
    assert wait > 0.0
