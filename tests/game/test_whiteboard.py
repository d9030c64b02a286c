"""The whiteboard: drawn on, undone, cleared; nothing that a client sends can break it or make it too large."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from game.base_batch import StepResult
from game.commands import Join, Leave
from game.object_batch import ObjectBatch
from game.whiteboard import ACT_POINTS_MAX, BOARD_POINTS_MAX, STROKE_POINTS_MAX, STROKES_MAX, Whiteboard
from tests.effort import examples
from tests.game.games import acts, tick

RED = "#ff0000"
SPOT = b"\x01\x00\x02\x00"
MOST = SPOT * ACT_POINTS_MAX


@pytest.fixture
def board() -> ObjectBatch:
    return fresh()


def fresh() -> ObjectBatch:
    batch = ObjectBatch(Whiteboard({"seats": 4}))
    batch.open("r", 1)
    batch.step(tick(batch, Join("r", "a", "A", "j"), Join("r", "b", "B", "j")))
    return batch


def draw(batch: ObjectBatch, seat: int, *values: Any) -> list[tuple[Any, ...]]:
    result: StepResult = batch.step(tick(batch, *acts(batch, "r", seat, *values)))
    assert result.failed == {}
    return [
        (*((event.seat,) if event.seat >= 0 else ()), event.kind, *event.data) for event in result.events.get("r", [])
    ]


def view(batch: ObjectBatch) -> dict[str, Any]:
    found: dict[str, Any] = msgpack.unpackb(batch.view("r", 0), strict_map_key=False)
    return found


def test_a_stroke_is_seen_while_it_is_drawn(board: ObjectBatch) -> None:
    assert draw(board, 0, ["begin", RED, 3, SPOT]) == [("begin", 1, 0, RED, 3, SPOT)]
    assert draw(board, 0, ["extend", SPOT * 2], ["extend", SPOT]) == [("extend", 1, SPOT * 2), ("extend", 1, SPOT)]
    assert view(board) == {"strokes": [[1, 0, RED, 3, SPOT * 4]], "cursors": {}, "pens": {0: 1}}
    assert draw(board, 0, ["end"], ["end"], ["extend", SPOT]) == [("end", 1)]
    assert view(board)["pens"] == {}


def test_two_draw_at_once_and_each_undoes_their_own(board: ObjectBatch) -> None:
    draw(board, 0, ["begin", RED, 3, SPOT])
    draw(board, 1, ["begin", "#00ff00", 4, SPOT], ["end"])
    draw(board, 0, ["extend", SPOT], ["end"])
    assert draw(board, 0, ["undo"], ["undo"]) == [("undo", 1)]
    assert [stroke[:2] for stroke in view(board)["strokes"]] == [[2, 1]]
    assert draw(board, 1, ["begin", RED, 1, SPOT], ["undo"], ["extend", SPOT]) == [
        ("begin", 3, 1, RED, 1, SPOT),
        ("undo", 3),
    ]


def test_a_new_stroke_ends_the_one_before(board: ObjectBatch) -> None:
    told = draw(board, 0, ["begin", RED, 3, SPOT], ["begin", RED, 3, SPOT])
    assert [(kind, number) for kind, number, *_ in told] == [("begin", 1), ("end", 1), ("begin", 2)]


def test_clearing_is_told_with_who_did_it(board: ObjectBatch) -> None:
    draw(board, 0, ["begin", RED, 3, SPOT])
    assert draw(board, 1, ["clear"]) == [("clear", 1)]
    assert view(board) == {"strokes": [], "cursors": {}, "pens": {}}
    assert draw(board, 0, ["extend", SPOT]) == []


def test_only_the_last_cursor_of_a_tick_is_told(board: ObjectBatch) -> None:
    assert draw(board, 1, ["cursor", 1, 2], ["cursor", 3, 65535]) == [("cursor", 1, 3, 65535)]
    assert view(board)["cursors"] == {1: [3, 65535]}


def test_who_leaves_leaves_the_drawing(board: ObjectBatch) -> None:
    draw(board, 1, ["begin", RED, 3, SPOT], ["cursor", 1, 1])
    result = board.step(tick(board, Leave("r", 1, 1), Join("r", "c", "C", "j")))
    assert [event.kind for event in result.events["r"]] == ["away", "left", "joined"]
    assert view(board) == {"strokes": [[1, -1, RED, 3, SPOT]], "cursors": {}, "pens": {}}
    assert draw(board, 1, ["undo"]) == []


@pytest.mark.parametrize(
    "bad",
    [
        None,
        7,
        [],
        ["begin"],
        ["begin", "red", 3, SPOT],
        ["begin", "#FF0000", 3, SPOT],
        ["begin", RED + "\n", 3, SPOT],
        ["begin", RED, 0, SPOT],
        ["begin", RED, 65, SPOT],
        ["begin", RED, 3, b""],
        ["begin", RED, 3, b"123"],
        ["begin", RED, 3, "1234"],
        ["extend", MOST + SPOT],
        ["cursor", -1, 0],
        ["cursor", 0, 65536],
        ["cursor", 1.5, 0],
        ["undo", 1],
        {"begin": 1},
    ],
)
def test_other_acts_are_refused(board: ObjectBatch, bad: Any) -> None:
    result = board.step(tick(board, *acts(board, "r", 0, bad)))
    assert (len(result.refused), result.events, result.failed) == (1, {}, {})


def test_a_stroke_has_an_end(board: ObjectBatch) -> None:
    draw(board, 0, ["begin", RED, 3, MOST])
    for _ in range(STROKE_POINTS_MAX // ACT_POINTS_MAX - 1):
        assert [kind for kind, *_ in draw(board, 0, ["extend", MOST])] == ["extend"]
    assert draw(board, 0, ["extend", SPOT]) == [(0, "full"), ("end", 1)]


def test_the_oldest_finished_strokes_make_room(board: ObjectBatch) -> None:
    draw(board, 1, ["begin", RED, 3, SPOT])  # stays in hand
    for _ in range(BOARD_POINTS_MAX // ACT_POINTS_MAX):
        draw(board, 0, ["begin", RED, 3, MOST], ["end"])
    told = draw(board, 0, ["begin", RED, 3, MOST])
    assert [one[:2] for one in told] == [("drop", [2]), ("begin", 80)]
    strokes = view(board)["strokes"]
    assert [strokes[0][0], strokes[1][0]] == [1, 3]
    assert sum(len(stroke[4]) // 4 for stroke in strokes) <= BOARD_POINTS_MAX


def test_many_small_strokes_dropped_at_once_are_one_event(board: ObjectBatch) -> None:
    for _ in range(STROKES_MAX // 8):
        draw(board, 0, *[["begin", RED, 3, SPOT]] * 8)
    for _ in range((BOARD_POINTS_MAX - STROKES_MAX) // ACT_POINTS_MAX):
        draw(board, 0, ["begin", RED, 3, MOST])
    told = draw(board, 0, *[["begin", RED, 3, MOST]] * 3)
    drops = [numbers for kind, numbers, *_ in told if kind == "drop"]
    assert len(drops) <= 3
    assert sum(len(numbers) for numbers in drops) > 200
    assert len(view(board)["strokes"]) < STROKES_MAX


ACT = st.one_of(
    st.builds(lambda w, n: ["begin", RED, w, SPOT * n], st.integers(1, 64), st.sampled_from([1, 7, ACT_POINTS_MAX])),
    st.builds(lambda n: ["extend", SPOT * n], st.sampled_from([1, 7, ACT_POINTS_MAX])),
    st.sampled_from([["end"], ["undo"], ["clear"], ["cursor", 5, 6], ["begin"], 7]),
)


@settings(max_examples=examples(20), deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 1), ACT), max_size=12), max_size=12), st.integers(0, 11))
def test_who_plays_along_by_the_events_sees_what_who_joins_sees(
    ticks: list[list[tuple[int, Any]]], moved_at: int
) -> None:
    shown: dict[str, Any] = {"strokes": [], "cursors": {}, "pens": {}}
    board = fresh()
    for number, wanted in enumerate(ticks):
        if number == moved_at:
            saved = board.save("r")
            board = ObjectBatch(Whiteboard({"seats": 4}))
            board.load(saved)
        sent = [one for seat in (0, 1) for one in acts(board, "r", seat, *(act for who, act in wanted if who == seat))]
        result = board.step(tick(board, *sent))
        assert result.failed == {}
        for event in result.events.get("r", []):
            show(shown, event.kind, *event.data)
        assert view(board) == shown
        points = sum(len(stroke[4]) // 4 for stroke in shown["strokes"])
        assert msgpack.unpackb(board.states[0], strict_map_key=False)["points"] == points


def show(shown: Any, kind: str, *data: Any) -> None:
    """What a client does with an event."""
    strokes = {stroke[0]: stroke for stroke in shown["strokes"]}
    match kind, *data:
        case "begin", number, seat, colour, width, xy:
            shown["strokes"].append([number, seat, colour, width, xy])
            shown["pens"][seat] = number
        case "extend", number, xy:
            strokes[number][4] += xy
        case "end", number:
            shown["pens"] = {seat: pen for seat, pen in shown["pens"].items() if pen != number}
        case "undo", number:
            shown["strokes"].remove(strokes[number])
            shown["pens"] = {seat: pen for seat, pen in shown["pens"].items() if pen != number}
        case "drop", numbers:
            shown["strokes"] = [stroke for stroke in shown["strokes"] if stroke[0] not in numbers]
        case "clear", _:
            shown["strokes"], shown["pens"] = [], {}
        case "cursor", seat, x, y:
            shown["cursors"][seat] = [x, y]
