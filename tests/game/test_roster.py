"""Who sits where, command by command."""

from __future__ import annotations

import numpy as np
import pytest

from game.batch import Batch, StepResult
from game.commands import Applied, Chat, Command, Connect, Disconnect, Join, Leave, Skip
from game.errors import RoomFull
from game.ledger import EVENTS_KEPT
from game.rows import CONNECTED, EMPTY, HELD
from tests.game.games import Tally, tick

NO_INPUT = {"add": 0}


@pytest.fixture
def batch() -> Batch:
    batch = Batch(Tally())
    batch.open("r", 5)
    return batch


def join(who: str, attempt: str = "j") -> Join:
    return Join("r", who, who.upper(), attempt)


def seated(batch: Batch) -> list[int]:
    return [int(value) for value in batch.rows.seated[0]]


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


def test_a_full_room_says_so(batch: Batch) -> None:
    result = batch.step(tick(batch, *(join(who) for who in "abcd")))
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
    batch.step(tick(batch, join("a"), inputs={("r", 0): {"add": 500, "rewind": 3}, ("r", 2): {"add": 5}}))
    rows = batch.rows
    assert rows.add[0].tolist() == [9, 0, 0]
    assert rows.applied[0].tolist() == [1, 0, 0]
    assert rows.last_seq[0].tolist() == [1, 0, 0]
    assert rows.rewind[0].tolist() == [3, 0, 0]


def test_a_seat_is_held_for_so_many_ticks_and_then_given_up(batch: Batch) -> None:
    batch.step(tick(batch, join("a")))
    batch.step(tick(batch, inputs={("r", 0): {"add": 1}}))
    batch.step(tick(batch, Disconnect("r", 0, 1, 3)))
    held = [batch.step(tick(batch)).vacated for _ in range(2)]
    assert (held, seated(batch)[0]) == ([[], []], HELD)
    result = batch.step(tick(batch))
    assert [(v.room, v.seat, v.generation, v.last_seq, v.applied) for v in result.vacated] == [("r", 0, 1, 1, 1)]
    assert (seated(batch)[0], kinds(result), batch.ledger("r").players[0]) == (EMPTY, ["left"], None)


def test_a_join_while_held_takes_the_seat_back(batch: Batch) -> None:
    batch.step(tick(batch, join("a")))
    batch.step(tick(batch, Disconnect("r", 0, 1, 3)))
    batch.step(tick(batch, join("a")))
    for _ in range(5):
        batch.step(tick(batch))
    assert (seated(batch)[0], batch.rows.generation[0, 0]) == (CONNECTED, 2)


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
def test_a_command_that_does_not_fit_changes_nothing(batch: Batch, command: Command) -> None:
    batch.step(tick(batch, join("a")))
    twin = Batch(Tally())
    twin.load(batch.save("r"))
    result = batch.step(tick(batch, command))
    assert result.hashes == twin.step(tick(twin)).hashes
    assert (result.failed, result.vacated, kinds(result)) == ({}, [], [])


def test_a_skip_is_told_with_its_range(batch: Batch) -> None:
    batch.step(tick(batch, join("a"), inputs={("r", 0): NO_INPUT}))
    result = batch.step(tick(batch, Skip("r", 0, 1, 2, 6), inputs={("r", 0): {"seq": 7}}))
    assert [(event.kind, event.data) for event in result.events["r"]] == [("skipped", (0, 2, 6))]
    assert (batch.rows.last_seq[0, 0], batch.rows.applied[0, 0]) == (7, 2)


def test_chat_past_what_is_kept_has_ids_of_its_own(batch: Batch) -> None:
    batch.step(tick(batch, join("a")))
    result = batch.step(tick(batch, *(Chat("r", 0, 1, str(n)) for n in range(100))))
    assert [event.index for event in result.events["r"]] == list(range(100))
    assert len(batch.ledger("r").events) == EVENTS_KEPT


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


def test_every_change_of_the_ledger_changes_the_hash(batch: Batch) -> None:
    batch.step(tick(batch, join("a")))
    saved = batch.save("r")
    commands = (Chat("r", 0, 1, "x"), Chat("r", 0, 1, "y"), Join("r", "b", "B", "j"), Join("r", "b", "C", "j"))
    hashes = []
    for command in commands:
        twin = Batch(Tally())
        twin.load(saved)
        hashes += twin.step(tick(twin, command)).hashes
    assert len(set(hashes)) == len(commands)
    assert np.array(hashes, np.uint64).size == len(commands)
