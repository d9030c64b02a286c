"""The code of docs/writing-a-game.md works: the games load and play, its tests pass, its clients compile."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import msgpack
import numpy as np
import pytest

from game.base_batch import StepResult
from game.commands import Act, Command, Join, Leave, TickCommands
from game.object_batch import ObjectBatch, batch_for
from holdfast.games import make_game

PAGE = Path(__file__).parents[2] / "docs" / "writing-a-game.md"
FILES = {name: code for code, name in re.findall(r"```python\n(# (\w+\.py)\n.*?)```", PAGE.read_text(), re.DOTALL)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A newcomer's folder with all files of the page; its modules are forgotten and the path is put back afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*(entry for entry in sys.path if entry), str(tmp_path)])
    for name, code in FILES.items():
        (tmp_path / name).write_text(code)
    yield tmp_path
    for name in FILES:  # and no other: ours, once imported, stay the same for all
        sys.modules.pop(name.removesuffix(".py"), None)


def test_all_code_of_the_page_is_in_files() -> None:
    assert sorted(FILES) == ["hill.py", "noughts.py", "play_hill.py", "play_noughts.py", "test_games.py"]
    assert PAGE.read_text().count("```python") == len(FILES)


def test_the_tests_of_the_page_pass(folder: Path) -> None:
    tests = vars(import_module("test_games"))
    ran = [tests[name]() for name in tests if name.startswith("test_")]
    assert len(ran) == 4


@pytest.mark.parametrize("name", ["play_hill", "play_noughts"])
def test_the_clients_of_the_page_can_be_imported(folder: Path, name: str) -> None:
    assert callable(import_module(name).main)


def test_the_hill_gives_points_and_moves(folder: Path) -> None:
    game = make_game("hill:Hill", {"match_s": "8"})
    batch = batch_for(game)
    batch.open("r", 5)
    batch.step(TickCommands(np.zeros(0, batch.input_record), (Join("r", "a", "Ann", "j"),)))
    kinds, results = [], []
    for seq in range(1, 2 * 8 * game.tick_hz):
        rows, inputs = batch.rows, np.zeros(1, batch.input_record)
        inputs["seq"] = seq
        inputs["move_x"] = np.sign(rows.hill_x[0] - rows.x[0, 0])
        inputs["move_y"] = np.sign(rows.hill_y[0] - rows.y[0, 0])
        result = batch.step(TickCommands(inputs))
        kinds += [event.kind for event in result.events.get("r", [])]
        results += [one for _, one in result.results]
    assert kinds == ["new_hill"] * 2
    assert [(one.account, one.match, one.won) for one in results] == [("a", 0, True), ("a", 1, True)]
    assert all(one.score > 0 for one in results)


def test_the_hill_predicts_what_it_does(folder: Path) -> None:
    game = make_game("hill:Hill", {})
    batch = batch_for(game)
    batch.open("r", 5)
    batch.step(TickCommands(np.zeros(0, batch.input_record), (Join("r", "a", "Ann", "j"),)))
    own = {"x": int(batch.rows.x[0, 0]), "y": int(batch.rows.y[0, 0]), "points": 0}
    for seq in range(1, 120):
        wanted = {"move_x": 1, "move_y": seq % 3 - 1}
        inputs = np.zeros(1, batch.input_record)
        for name, value in {"seq": seq, **wanted}.items():
            inputs[name] = value
        batch.step(TickCommands(inputs))
        own = game.predict(own, {}, wanted)  # type: ignore[attr-defined]
        assert (own["x"], own["y"]) == (batch.rows.x[0, 0], batch.rows.y[0, 0])


def noughts() -> ObjectBatch:
    batch = batch_for(make_game("noughts:Noughts", {}))
    assert isinstance(batch, ObjectBatch)
    batch.open("r", 5)
    play(batch, Join("r", "a", "Ann", "j"), Join("r", "b", "Ben", "j"))
    return batch


def play(batch: ObjectBatch, *commands: Command) -> StepResult:
    result = batch.step(TickCommands(np.zeros(0, batch.input_record), commands))
    assert result.failed == {}
    return result


def move(batch: ObjectBatch, seat: int, cell: object) -> list[tuple[object, ...]]:
    act = Act("r", seat, 1, batch.last_seq("r", seat) + 1, msgpack.packb(cell))
    return [(event.seat, event.kind, *event.data) for event in play(batch, act).events.get("r", [])]


def test_a_match_of_noughts(folder: Path) -> None:
    batch = noughts()
    first = msgpack.unpackb(batch.view("r", 0))["turn"]
    second = 1 - first
    assert move(batch, second, 0) == [(second, "not_now", first)]
    assert move(batch, first, 9) == []
    for seat, cell in ((first, 0), (second, 3), (first, 1), (second, 4)):
        assert move(batch, seat, cell) == [(-1, "placed", seat, cell), (-1, "turn", 1 - seat)]
    assert move(batch, first, 4) == [(first, "not_now", first)]
    assert move(batch, first, 2) == [(-1, "placed", first, 2), (-1, "over", first), (-1, "turn", second)]
    outbox = batch.ledger("r").outbox
    assert [(one.seat, one.won) for one in outbox.values()] == [(0, first == 0), (1, first == 1)]


def test_who_leaves_a_match_of_noughts_has_lost_it(folder: Path) -> None:
    batch = noughts()
    first = msgpack.unpackb(batch.view("r", 0))["turn"]
    move(batch, first, 0)
    result = play(batch, Leave("r", first, 1))
    assert [(one.seat, one.won) for _, one in result.results] == sorted([(first, False), (1 - first, True)])
