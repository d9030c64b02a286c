"""Who sits where, command by command."""

from __future__ import annotations

import numpy as np
import pytest

from game.batch import Batch, StepResult
from game.commands import Applied, Chat, Command, Connect, Disconnect, Join, Leave, Recovered, Skip
from game.errors import RoomFull, SeatGone
from game.ledger import EVENTS_KEPT
from game.object_batch import ObjectBatch
from game.rows import CONNECTED, EMPTY, HELD
from tests.game.games import Pile, Tally, act, tick

NO_INPUT = {"add": 0}
Tier = Batch | ObjectBatch


@pytest.fixture
def batch() -> Batch:
    """A room of rows."""
    rooms = Batch(Tally())
    rooms.open("r", 5)
    return rooms


@pytest.fixture(params=[Batch, ObjectBatch])
def either(request: pytest.FixtureRequest) -> Tier:
    """A room of either tier."""
    rooms = empty(request.param)
    rooms.open("r", 5)
    return rooms


def empty(tier: type[Tier]) -> Tier:
    return ObjectBatch(Pile()) if tier is ObjectBatch else Batch(Tally())


def join(who: str, attempt: str = "j") -> Join:
    return Join("r", who, who.upper(), attempt)


def seated(batch: Tier) -> list[int]:
    return [int(value) for value in batch.rows.seated[0]]


def play(rooms: Tier) -> None:
    """A tick with an input of seat 0."""
    if isinstance(rooms, ObjectBatch):
        rooms.step(tick(rooms, act(rooms, "r", 0, 1)))
    else:
        rooms.step(tick(rooms, inputs={("r", 0): NO_INPUT}))


def kinds(result: StepResult) -> list[str]:
    return [event.kind for event in result.events.get("r", [])]


def test_joins_take_the_lowest_free_seat(batch: Batch) -> None:
    result = batch.step(tick(batch, join("a"), join("b")))
    assert [(s.seat, s.generation, s.error) for s in result.seated] == [(0, 1, None), (1, 1, None)]
    assert seated(batch) == [CONNECTED, CONNECTED, EMPTY]
    assert kinds(result) == ["joined", "joined", "hello", "hello"]
    assert [(event.tick, event.index) for event in result.events["r"]] == [(1, 0), (1, 1), (1, 2), (1, 3)]
    result = batch.step(tick(batch, Leave("r", 0, 1), join("c")))
    assert [(v.seat, v.generation) for v in result.vacated] == [(0, 1)]
    assert [(s.seat, s.generation) for s in result.seated] == [(0, 2)]
    player = batch.ledger("r").players[0]
    assert player is not None
    assert player.account == "c"


def test_a_full_room_says_so(either: Tier) -> None:
    result = either.step(tick(either, *(join(who) for who in "abcd")))
    assert [s.seat for s in result.seated] == [0, 1, 2, -1]
    assert isinstance(result.seated[3].error, RoomFull)
    assert not result.failed


def test_joining_again_keeps_the_seat_and_renews_the_generation(batch: Batch) -> None:
    batch.step(tick(batch, join("a", "j1")))
    batch.step(tick(batch, inputs={("r", 0): {"add": 3}}))
    result = batch.step(tick(batch, join("a", "j2")))
    assert [(s.seat, s.generation, s.join_id) for s in result.seated] == [(0, 2, "j2")]
    assert kinds(result) == []
    rows = batch.rows
    assert (rows.last_seq[0, 0], rows.applied[0, 0], rows.add[0, 0], rows.total[0, 0]) == (0, 0, 0, 103)


def test_an_input_repeats_until_the_next_and_stops_when_the_player_is_away(batch: Batch) -> None:
    batch.step(tick(batch, join("a")))
    for inputs in ({("r", 0): {"add": 2}}, {}, {}):
        batch.step(tick(batch, inputs=inputs))
    assert batch.rows.total[0, 0] == 106
    batch.step(tick(batch, Disconnect("r", 0, 1, 10)))
    assert (seated(batch)[0], batch.rows.total[0, 0]) == (HELD, 106)
    batch.step(tick(batch, Connect("r", 0, 1)))
    assert (seated(batch)[0], batch.rows.held_until[0, 0], batch.rows.last_seq[0, 0]) == (CONNECTED, 0, 1)


def test_inputs_are_clipped_and_those_for_an_empty_seat_dropped(batch: Batch) -> None:
    batch.step(tick(batch, join("a")))
    batch.step(tick(batch, inputs={("r", 0): {"add": 500, "rewind": 3}, ("r", 2): {"add": 5}}))
    rows = batch.rows
    assert rows.add[0].tolist() == [9, 0, 0]
    assert rows.applied[0].tolist() == [1, 0, 0]
    assert rows.last_seq[0].tolist() == [1, 0, 0]
    assert rows.rewind[0].tolist() == [3, 0, 0]


def test_a_seat_is_held_for_so_many_ticks_and_then_given_up(either: Tier) -> None:
    either.step(tick(either, join("a")))
    play(either)
    either.step(tick(either, Disconnect("r", 0, 1, 3)))
    held = [either.step(tick(either)).vacated for _ in range(2)]
    assert (held, seated(either)[0]) == ([[], []], HELD)
    result = either.step(tick(either))
    assert [(v.room, v.seat, v.generation, v.last_seq, v.applied) for v in result.vacated] == [("r", 0, 1, 1, 1)]
    assert (seated(either)[0], kinds(result), either.ledger("r").players[0]) == (EMPTY, ["left"], None)


def test_a_room_with_a_new_owner_holds_every_seat_that_is_taken(either: Tier) -> None:
    either.step(tick(either, join("a"), join("b")))
    play(either)
    either.step(tick(either, Disconnect("r", 1, 1, 2)))
    result = either.step(tick(either, Recovered("r", 5), Recovered("elsewhere", 5)))
    assert (seated(either), kinds(result), result.vacated) == ([HELD, HELD, EMPTY], [], [])
    assert either.rows.held_until[0].tolist() == [9, 9, 0]
    assert (either.last_seq("r", 0), either.generation("r", 0)) == (1, 1)
    either.step(tick(either, Connect("r", 0, 1)))
    gone = [[v.seat for v in either.step(tick(either)).vacated] for _ in range(4)]
    assert (gone, seated(either)) == ([[], [], [], [1]], [CONNECTED, EMPTY, EMPTY])


def test_a_room_with_a_new_owner_lets_go_of_all_keys(batch: Batch) -> None:
    batch.step(tick(batch, join("a")))
    batch.step(tick(batch, inputs={("r", 0): {"add": 2}}))
    batch.step(tick(batch, Recovered("r", 5)))
    assert (batch.rows.add[0, 0], batch.rows.total[0, 0]) == (0, 102)


def test_a_join_while_held_takes_the_seat_back(either: Tier) -> None:
    either.step(tick(either, join("a")))
    either.step(tick(either, Disconnect("r", 0, 1, 3)))
    either.step(tick(either, join("a")))
    for _ in range(5):
        either.step(tick(either))
    assert (seated(either)[0], either.rows.generation[0, 0]) == (CONNECTED, 2)


@pytest.mark.parametrize(
    "command",
    [
        Leave("r", 0, 0),
        Leave("r", 0, 2),
        Disconnect("r", 0, 2, 5),
        Connect("r", 0, 7),
        Skip("r", 0, 2, 1, 4),
        Chat("r", 0, 0, "x"),
        Leave("r", 1, 0),
        Leave("r", -1, 1),
        Leave("r", 3, 1),
        Leave("elsewhere", 0, 1),
        Applied("r", ("nothing",)),
        Skip("r", 0, 1, 2, 4),
        Skip("r", 0, 1, 1, 0),
    ],
)
def test_a_command_that_does_not_fit_changes_nothing(either: Tier, command: Command) -> None:
    either.step(tick(either, join("a")))
    twin = empty(type(either))
    twin.load(either.save("r"))
    result = either.step(tick(either, command))
    assert result.hashes == twin.step(tick(twin)).hashes
    assert (result.failed, result.vacated, kinds(result)) == ({}, [], [])


def test_a_skip_is_told_with_its_range(batch: Batch) -> None:
    batch.step(tick(batch, join("a")))
    batch.step(tick(batch, inputs={("r", 0): NO_INPUT}))
    result = batch.step(tick(batch, Skip("r", 0, 1, 2, 6), inputs={("r", 0): {"seq": 7}}))
    assert [(event.kind, event.data) for event in result.events["r"]] == [("skipped", (0, 2, 6))]
    assert (batch.rows.last_seq[0, 0], batch.rows.applied[0, 0]) == (7, 2)


def test_chat_past_what_is_kept_has_ids_of_its_own(either: Tier) -> None:
    either.step(tick(either, join("a")))
    result = either.step(tick(either, *(Chat("r", 0, 1, str(n)) for n in range(100))))
    assert [event.index for event in result.events["r"]] == list(range(100))
    assert len(either.ledger("r").events) == EVENTS_KEPT


def test_results_of_a_match_wait_until_they_are_applied(batch: Batch) -> None:
    batch.step(tick(batch, join("a"), join("b")))
    result = batch.step(tick(batch, inputs={("r", 0): {"add": 9}}))
    assert [(r.op_id, r.rank, r.won, r.score, r.players, r.stats) for _, r in result.results] == [
        ("r/0/a", 1, True, 109, 2, {"sum": 109}),
        ("r/0/b", 2, False, 100, 2, {"sum": 100}),
    ]
    assert list(batch.ledger("r").outbox) == ["r/0/a", "r/0/b"]
    assert batch.rows.match[0] == 1
    again = batch.step(tick(batch, Applied("r", ("r/0/a",)), inputs={("r", 0): NO_INPUT}))
    assert again.results == []
    assert list(batch.ledger("r").outbox) == ["r/0/b"]


def test_equal_scores_share_rank_and_win(batch: Batch) -> None:
    batch.step(tick(batch, join("a"), join("b"), join("c")))
    inputs = {("r", 0): {"add": 9}, ("r", 1): {"add": 9}}
    result = batch.step(tick(batch, inputs=inputs))
    assert [(r.rank, r.won) for _, r in result.results] == [(1, True), (1, True), (3, False)]


def test_every_change_of_the_ledger_changes_the_hash(either: Tier) -> None:
    either.step(tick(either, join("a")))
    saved = either.save("r")
    commands = (Chat("r", 0, 1, "x"), Chat("r", 0, 1, "y"), Join("r", "b", "B", "j"), Join("r", "b", "C", "j"))
    hashes = []
    for command in commands:
        twin = empty(type(either))
        twin.load(saved)
        hashes += twin.step(tick(twin, command)).hashes
    assert len(set(hashes)) == len(commands)
    assert np.array(hashes, np.uint64).size == len(commands)


def test_a_player_who_is_back_is_answered_by_name(either: Tier) -> None:
    either.step(tick(either, join("a"), join("b")))
    either.step(tick(either, Disconnect("r", 0, 1, 10)))
    result = either.step(tick(either, Connect("r", 0, 1, "again"), Connect("r", 1, 1, "here already")))
    assert [(s.join_id, s.seat, s.generation, s.error) for s in result.seated] == [
        ("again", 0, 1, None),
        ("here already", 1, 1, None),
    ]
    assert seated(either) == [CONNECTED, CONNECTED, EMPTY]
    assert kinds(result) == []
    either.step(tick(either, Leave("r", 0, 1), join("c")))
    result = either.step(tick(either, Connect("r", 0, 1, "late"), Connect("r", 2, 1, "never"), Connect("r", 0, 1)))
    assert [(s.join_id, type(s.error)) for s in result.seated] == [("late", SeatGone), ("never", SeatGone)]


def test_coming_back_lets_go_of_the_keys_and_keeps_the_sequence(batch: Batch) -> None:
    batch.step(tick(batch, join("a"), inputs={}))
    batch.step(tick(batch, inputs={("r", 0): {"add": 2}}))
    batch.step(tick(batch, Connect("r", 0, 1, "second connection")))
    rows = batch.rows
    assert (rows.add[0, 0], rows.total[0, 0], rows.last_seq[0, 0], rows.applied[0, 0]) == (0, 102, 1, 1)


def test_what_is_asked_about_rooms(either: Tier) -> None:
    either.open("s", 6)
    either.step(tick(either, join("a"), join("b")))
    either.step(tick(either, Disconnect("r", 0, 1, 10)))
    assert either.taken() == [2, 0]
    either.open("t", 6)
    assert either.ticks() == [2, 2, 0]
    assert [either.generation("r", seat) for seat in range(3)] == [1, 1, 0]
    assert either.last_seq("r", 1) == 0


def test_a_hook_that_raises_costs_its_room_and_changes_nothing(either: Tier) -> None:
    either.open("s", 6)
    either.step(tick(either, join("a")))
    either.step(tick(either))
    ledger = either.ledger("r").encode()
    command = Join("r", "b", "B", "j", {"bad": "hook"})
    result = either.step(tick(either, command))
    assert list(result.failed) == ["r"]
    assert result.failed["r"].command == command
    assert either.ledger("r").encode() == ledger
    assert seated(either) == [CONNECTED, EMPTY, EMPTY]


def test_sequences_count_from_each_join(either: Tier) -> None:
    either.step(tick(either, join("a")))
    for _ in range(2):
        play(either)
    assert either.last_seq("r", 0) == 2
    result = either.step(tick(either, join("a", "once more")))
    assert (either.last_seq("r", 0), either.generation("r", 0), result.seated[0].seat) == (0, 2, 0)
