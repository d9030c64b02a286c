"""Rooms of objects: acts are applied once and in order, a room fails alone, and its bytes are the room."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgpack
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from game.base_batch import Failure, StepResult
from game.commands import Act, Applied, Chat, Close, Command, Connect, Disconnect, Join, Leave, Quarantine
from game.errors import BadGame, GameError, StepOverran, UnknownRoom
from game.object_batch import ObjectBatch
from game.rows import EMPTY
from tests.effort import examples
from tests.game.games import Boom, Pile, act, acts, tick

ROOMS = 12
POISON = ["boom", "set", "huge", "flood"]


def filled(rooms: int = ROOMS) -> ObjectBatch:
    batch = ObjectBatch(Pile())
    for room in range(rooms):
        batch.open(f"r{room}", room)
    batch.step(tick(batch, *(Join(f"r{room}", who, who.upper(), "j") for room in range(rooms) for who in "ab")))
    return batch


def state(batch: ObjectBatch, room: str = "r0") -> dict[str, Any]:
    found: dict[str, Any] = msgpack.unpackb(batch.states[batch.row[room]], strict_map_key=False)
    return found


def told(result: StepResult, room: str = "r0") -> list[tuple[Any, ...]]:
    return [(event.kind, *event.data) for event in result.events.get(room, [])]


def test_acts_of_a_tick_reach_the_step_by_seat_and_arrival() -> None:
    batch = filled(1)
    late, early = acts(batch, "r0", 1, 7), acts(batch, "r0", 0, 1, {"add": 7}, 7)
    result = batch.step(tick(batch, *late, *early))
    assert state(batch)["totals"] == [115, 107, 0]
    assert told(result) == [("seven", 0, 115), ("seven", 1, 107)]
    assert (batch.last_seq("r0", 0), batch.last_seq("r0", 1)) == (3, 1)
    assert [(e.tick, e.index) for e in result.events["r0"]] == [(2, 0), (2, 1)]


def test_an_act_is_applied_once_and_never_before_the_one_that_it_follows() -> None:
    batch = filled(1)
    first, second, third = acts(batch, "r0", 0, 1, 2, 4)
    batch.step(tick(batch, first, first, third))
    assert (state(batch)["totals"][0], batch.last_seq("r0", 0)) == (101, 1)
    batch.step(tick(batch, first, second, third))
    assert (state(batch)["totals"][0], batch.last_seq("r0", 0)) == (107, 3)


@pytest.mark.parametrize(
    "stray",
    [
        Act("r0", 0, 0, 1, b"\x01"),
        Act("r0", 0, 2, 1, b"\x01"),
        Act("r0", 2, 0, 1, b"\x01"),
        Act("r0", 2, 1, 1, b"\x01"),
        Act("r0", 3, 1, 1, b"\x01"),
        Act("r0", -1, 1, 1, b"\x01"),
        Act("r0", 0, 1, 0, b"\x01"),
        Act("r0", 0, 1, 2, b"\x01"),
        Act("elsewhere", 0, 1, 1, b"\x01"),
    ],
)
def test_an_act_that_does_not_fit_changes_nothing(stray: Act) -> None:
    batch, twin = filled(1), filled(1)
    result = batch.step(tick(batch, stray))
    assert result.hashes == twin.step(tick(twin)).hashes
    assert (result.failed, result.refused) == ({}, [])


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x91" * 600, msgpack.packb(666), msgpack.packb({}), msgpack.packb([])]
)
def test_a_bad_act_counts_as_applied_and_costs_nothing_else(data: bytes) -> None:
    batch, twin = filled(2), filled(2)
    result = batch.step(tick(batch, Act("r0", 0, 1, 1, data), Act("r0", 0, 1, 2, msgpack.packb(5))))
    twin.step(tick(twin))
    assert (result.failed, state(batch)["totals"][0], batch.last_seq("r0", 0)) == ({}, 105, 2)
    assert [(refused.room, refused.seat, refused.seq) for refused in result.refused] == [("r0", 0, 1)]
    assert result.refused[0].why
    vacated = batch.step(tick(batch, Leave("r0", 0, 1))).vacated
    assert [(v.last_seq, v.applied) for v in vacated] == [(2, 2)]


def test_acts_of_a_player_who_leaves_in_that_tick_do_not_reach_the_step() -> None:
    batch = filled(1)
    batch.step(
        tick(batch, *acts(batch, "r0", 0, 5), Leave("r0", 0, 1), Join("r0", "c", "C", "j"), *acts(batch, "r0", 1, 3))
    )
    assert state(batch)["totals"] == [100, 103, 0]


def test_a_quiet_room_is_not_stepped_unless_its_game_ticks() -> None:
    quiet, busy = ObjectBatch(Pile()), ObjectBatch(Pile({"ticks": 1}))
    for batch in (quiet, busy):
        batch.open("r0", 1)
        for _ in range(3):
            batch.step(tick(batch))
    assert (state(quiet)["steps"], state(busy)["steps"]) == (0, 3)
    assert quiet.tick_of("r0") == 3


@pytest.mark.parametrize("poison", POISON)
@pytest.mark.parametrize("ticks", [0, 1])
def test_a_room_that_raises_or_talks_nonsense_fails_alone(poison: str, ticks: int) -> None:
    batch, twin = filled(), filled()
    before = batch.states[4]
    others = [one for room in range(ROOMS) for one in acts(batch, f"r{room}", 0, 7)]
    result = batch.step(tick(batch, *others, *acts(batch, "r4", 1, 1, poison)))
    expected = twin.step(tick(twin, *others))
    assert list(result.failed) == ["r4"]
    failure = result.failed["r4"]
    assert isinstance(failure.error, Boom if poison == "boom" else BadGame)
    assert failure.command is None
    assert failure.acts == ((0, msgpack.packb(7)), (1, msgpack.packb(1)), (1, msgpack.packb(poison)))
    assert batch.states[4] == before
    assert "r4" not in result.events
    for room in (f"r{room}" for room in range(ROOMS) if room != 4):
        assert result.hashes[batch.row[room]] == expected.hashes[twin.row[room]]
        assert result.events[room] == expected.events[room]


@pytest.mark.parametrize("bad", ["hook", "told"])
def test_a_hook_that_raises_costs_its_room_alone(bad: str) -> None:
    batch, twin = filled(4), filled(4)
    before = batch.save("r2")
    command = Join("r2", "c", "C", "j", {"bad": bad})
    result = batch.step(tick(batch, command, Chat("r2", 0, 1, "after")))
    expected = twin.step(tick(twin))
    assert {room: failure.command for room, failure in result.failed.items()} == {"r2": command}
    assert (result.seated, result.events) == ([], {})
    assert [result.hashes[row] for row in (0, 1, 3)] == [expected.hashes[row] for row in (0, 1, 3)]
    again = ObjectBatch(Pile())
    again.load(before)
    again.step(tick(again))
    assert batch.save("r2") == again.save("r2"), "but for the tick it is as it was"


def test_a_guard_is_around_every_call_and_what_it_raises_fails_the_room() -> None:
    entered: list[str] = []
    broken: set[str] = set()

    @contextmanager
    def guard(room: str) -> Iterator[None]:
        entered.append(room)
        if room in broken:
            raise StepOverran
        yield

    batch = ObjectBatch(Pile(), guard)
    batch.open("r0", 1)
    batch.open("r1", 1)
    batch.step(tick(batch, Join("r0", "a", "A", "j"), Join("r1", "a", "A", "j")))
    batch.step(tick(batch, *acts(batch, "r0", 0, 1)))
    batch.view("r1", 0)
    batch.step(tick(batch, Leave("r1", 0, 1)))
    assert entered == ["r0", "r1", "r0", "r1", "r0", "r0", "r1", "r1"]  # open, join, act, step, view, leave
    broken.add("r0")
    result = batch.step(tick(batch, *acts(batch, "r0", 0, 1)))
    assert isinstance(result.failed["r0"].error, StepOverran)
    assert isinstance(result.failed["r0"].command, Act)
    with pytest.raises(StepOverran):
        batch.view("r0", 0)


def test_a_game_that_hangs_over_an_act_fails_with_that_act() -> None:
    batch = filled(2)
    hanging = act(batch, "r1", 0, "hang")
    result = batch.step(tick(batch, hanging))
    assert {room: failure.command for room, failure in result.failed.items()} == {"r1": hanging}
    assert batch.last_seq("r1", 0) == 0


def test_a_private_event_is_one_seats_and_stays_so() -> None:
    batch = ObjectBatch(Pile())
    batch.open("r0", 3)
    result = batch.step(tick(batch, Join("r0", "a", "A", "j"), Join("r0", "b", "B", "j")))
    assert [(event.kind, event.seat) for event in result.events["r0"]] == [
        ("joined", -1),
        ("hello", -1),
        ("secret", 0),
        ("joined", -1),
        ("hello", -1),
        ("secret", 1),
    ]
    twin = ObjectBatch(Pile())
    twin.load(batch.save("r0"))
    assert list(twin.ledger("r0").events) == result.events["r0"]


def test_a_view_is_what_the_seat_may_see() -> None:
    batch = filled(1)
    views = [msgpack.unpackb(batch.view("r0", seat)) for seat in range(3)]
    secrets = state(batch)["secrets"]
    assert [view["secret"] for view in views] == [secrets[0], secrets[1], None]
    assert all("secrets" not in view for view in views)
    with pytest.raises(UnknownRoom):
        batch.view("r9", 0)


def test_two_who_join_in_one_tick_have_their_own_luck() -> None:
    dealt = [state(filled(room + 1), f"r{room}")["secrets"] for room in range(6)]
    assert any(secrets[0] != secrets[1] for secrets in dealt)
    assert len({secrets[0] for secrets in dealt}) > 1


def test_a_match_ends_with_results_for_the_seats_that_are_taken() -> None:
    batch = filled(1)
    result = batch.step(tick(batch, *acts(batch, "r0", 0, 9)))
    assert [(r.op_id, r.score, r.rank, r.won, r.players, r.stats) for _, r in result.results] == [
        ("r0/0/a", 109, 1, True, 2, {"sum": 109}),
        ("r0/0/b", 100, 2, False, 2, {"sum": 100}),
    ]
    assert list(batch.ledger("r0").outbox) == ["r0/0/a", "r0/0/b"]
    again = batch.step(tick(batch, Applied("r0", ("r0/0/a", "r0/0/b")), *acts(batch, "r0", 0, 9)))
    assert [r.op_id for _, r in again.results] == ["r0/1/a", "r0/1/b"]


def test_who_leaves_a_match_that_this_ends_has_a_result() -> None:
    batch = filled(1)
    batch.step(tick(batch, *acts(batch, "r0", 0, -93)))
    result = batch.step(tick(batch, Leave("r0", 0, 1)))
    assert [(r.account, r.score, r.won) for _, r in result.results] == [("a", -1, False), ("b", 0, True)]


def test_a_failed_room_can_be_closed_and_the_rest_goes_on() -> None:
    batch = filled(3)
    batch.step(tick(batch, *acts(batch, "r0", 0, "boom")))
    batch.close("r0")
    result = batch.step(tick(batch, *acts(batch, "r2", 0, 7)))
    assert (result.failed, batch.ids, told(result, "r2")) == ({}, ["r2", "r1"], [("seven", 0, 107)])
    assert state(batch, "r1")["totals"] == [100, 100, 0]


@pytest.mark.parametrize("end", [Close, Quarantine])
def test_a_room_that_is_told_to_end_is_gone_after_the_tick(end: type[Close] | type[Quarantine]) -> None:
    batch, twin = filled(3), filled(3)
    result = batch.step(tick(batch, *acts(batch, "r0", 0, "boom"), end("r0"), Chat("r0", 0, 1, "hi")))
    expected = twin.step(tick(twin))
    assert (result.closed, result.failed, result.events, batch.ids) == (["r0"], {}, {}, ["r2", "r1"])
    assert result.hashes == [expected.hashes[2], expected.hashes[1]]
    assert batch.step(tick(batch)).closed == []


def test_what_failed_fails_again_and_a_mended_game_goes_on() -> None:
    batch = filled(1)
    failure = batch.step(tick(batch, *acts(batch, "r0", 0, 1, "boom"))).failed["r0"]
    saved = batch.save("r0")
    again = ObjectBatch(Pile())
    again.load(saved)
    repeated = again.again("r0", failure)
    assert repeated is not None
    assert isinstance(repeated.error, Boom)
    assert again.save("r0") == saved
    assert again.again("r0", Failure(failure.error, None, failure.acts[:1])) is None
    assert state(again)["totals"][0] == 101


def test_the_hash_of_a_room_covers_its_state() -> None:
    def hash_after(*values: Any, seed: int = 0) -> int:
        batch = ObjectBatch(Pile())
        batch.open("r0", seed)
        batch.step(tick(batch, Join("r0", "a", "A", "j")))
        return batch.step(tick(batch, *acts(batch, "r0", 0, *values))).hashes[0]

    by_step = {hash_after(value) for value in (1, 2, 3)}
    assert len(by_step) == 3
    hooked = []
    for game in (Pile(), Pile({"start": 5})):  # the join hook alone makes the difference
        batch = ObjectBatch(game)
        batch.open("r0", 1)
        batch.step(tick(batch, Join("r0", "a", "A", "j")))
        hooked.append(batch.hashes()[0])
    assert hooked[0] != hooked[1]


def test_a_room_id_is_taken_once() -> None:
    batch = filled(1)
    with pytest.raises(GameError, match="here already"):
        batch.open("r0", 1)
    assert len(batch.states) == len(batch) == 1


class Rooms(RuleBasedStateMachine):
    """Two batches get the same commands. One is saved, closed and loaded again at random; a poisoned room, which only
    it has, fails over and over. Their other rooms never differ."""

    @initialize(seeds=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=3), ticks=st.sampled_from([0, 1]))
    def begin(self, seeds: list[int], ticks: int) -> None:
        self.game = Pile({"ticks": ticks})
        self.kept, self.moved = ObjectBatch(self.game), ObjectBatch(self.game)
        self.rooms = [f"r{number}" for number in range(len(seeds))]
        for room, seed in zip(self.rooms, seeds, strict=True):
            self.kept.open(room, seed)
        self.moved.open("poisoned", 1)
        for room, seed in reversed(list(zip(self.rooms, seeds, strict=True))):
            self.moved.open(room, seed)
        self.moved.step(tick(self.moved, Join("poisoned", "a", "A", "j")))
        self.kept.step(tick(self.kept))
        self.waiting: list[Command] = []

    def pick(self, data: st.DataObject) -> tuple[str, int, int]:
        room = data.draw(st.sampled_from(self.rooms))
        seat = data.draw(st.integers(0, 2))
        return room, seat, self.kept.generation(room, seat) - data.draw(st.sampled_from([0, 0, 0, 1]))

    @rule(data=st.data(), who=st.sampled_from("abcde"))
    def join(self, data: st.DataObject, who: str) -> None:
        room = data.draw(st.sampled_from(self.rooms))
        self.waiting.append(Join(room, who, who.upper(), f"j{len(self.waiting)}", {"level": 3}))

    @rule(data=st.data(), kind=st.sampled_from([Leave, Connect, Disconnect, Chat]))
    def of_a_seat(self, data: st.DataObject, kind: type[Command]) -> None:
        room, seat, generation = self.pick(data)
        more = {Disconnect: (data.draw(st.integers(0, 3)),), Chat: ("hi",), Connect: ("again",)}.get(kind, ())
        self.waiting.append(kind(room, seat, generation, *more))  # type: ignore[call-arg]

    @rule(data=st.data(), value=st.sampled_from([1, 7, 9, 666, "deal", {"add": 2}, {}, [], "huge", "boom"]))
    def act(self, data: st.DataObject, value: Any) -> None:
        room, seat, generation = self.pick(data)
        if value in ("huge", "boom"):
            room, seat, generation = "poisoned", 0, 1
        seq = (self.moved if room == "poisoned" else self.kept).last_seq(room, seat) + data.draw(st.integers(0, 3))
        self.waiting.append(Act(room, seat, generation, seq, msgpack.packb(value)))

    @rule()
    def make_a_tick(self) -> None:
        one = self.kept.step(tick(self.kept, *(c for c in self.waiting if c.room != "poisoned")))
        two = self.moved.step(tick(self.moved, *self.waiting))
        self.waiting.clear()
        two.events.pop("poisoned", None)
        assert (one.failed, set(two.failed) - {"poisoned"}) == ({}, set())
        assert {room: events for room, events in one.events.items() if events} == {
            room: events for room, events in two.events.items() if events
        }
        assert sorted(one.results, key=str) == sorted(two.results, key=str)

    @precondition(lambda self: not self.waiting)
    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        room = data.draw(st.sampled_from(self.rooms))
        saved = self.moved.save(room)
        self.moved.close(room)
        self.moved.load(saved)

    @invariant()
    def they_are_equal(self) -> None:
        one, two = self.kept.hashes(), self.moved.hashes()
        for room in self.rooms:
            assert one[self.kept.row[room]] == two[self.moved.row[room]]
            assert self.kept.save(room) == self.moved.save(room)

    @invariant()
    def the_roster_agrees_with_the_seats(self) -> None:
        for row, ledger in enumerate(self.kept.ledgers):
            taken = [player is not None for player in ledger.players]
            assert taken == (self.kept.rows.seated[row] != EMPTY).tolist()
            assert self.kept.taken()[row] == sum(taken)
            accounts = [player.account for player in ledger.players if player is not None]
            assert len(accounts) == len(set(accounts))


TestRooms = Rooms.TestCase
TestRooms.settings = settings(max_examples=examples(25), stateful_step_count=30, deadline=None)
