"""The same commands give the same hash at every tick, wherever and however the room is run.

The golden hashes are remade by `python -m tests.game.driver --write`, after a change of the rules that is
meant.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from game.arena import Arena, lives, match, pickups
from game.arena.maps import TILE_BITS
from game.arena.movement import HALF
from game.batch import Batch
from game.commands import (
    Chat,
    Command,
    Connect,
    Disconnect,
    Join,
    Leave,
    Skip,
    TickCommands,
    decode_commands,
    encode_commands,
)
from game.rows import EMPTY
from tests.effort import examples
from tests.game.driver import CASES, GOLDEN, Case, cpu_features, hashes_alone, run, summary, tick_commands

ROOT = Path(__file__).parents[2]
DUEL = CASES["duel-10hz"]


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(GOLDEN.read_text())
    return data


@pytest.fixture(scope="module")
def alone() -> dict[int, list[int]]:
    """Hashes of three rooms, each alone, by seed."""
    return {seed: hashes_alone(Case(DUEL.tick_hz, seed, 150, DUEL.options)) for seed in (7, 8, 9)}


def test_golden_and_that_its_runs_play_the_whole_game(golden: dict[str, Any]) -> None:
    told: set[str] = set()
    for name, case in CASES.items():
        batch, hashes = Batch(case.game()), []
        batch.open(case.room, case.seed)
        for result in run(batch, {case.room: case.seed}, case.ticks):
            hashes += result.hashes
            told |= {event.kind for events in result.events.values() for event in events}
            told |= {"result"} if result.results else set()
        assert summary(hashes) == golden[name], f"{name}: see above how to remake it, if that is meant"
    assert told == {"joined", "left", "chat", "skipped", "kill", "pickup", "match_over", "match_start", "result"}


def test_any_row_of_a_batch_of_500(alone: dict[int, list[int]]) -> None:
    batch = Batch(DUEL.game(), capacity=8)
    watched = {0: 7, 250: 8, 499: 9}
    seeds = {f"room-{seed}": seed for seed in watched.values()}
    for row in range(500):
        batch.open(f"room-{watched[row]}" if row in watched else f"r{row}", watched.get(row, row))
    others = [row for row in range(500) if row not in watched]
    joins = tuple(Join(f"r{row}", f"a{seat}", "A", "j") for row in others for seat in range(3))
    at, seat = np.repeat(np.array(others), 3), np.tile(np.arange(3), len(others))
    chance = np.random.default_rng(1)
    found: dict[int, list[int]] = {seed: [] for seed in seeds.values()}
    for tick in range(150):
        mine = tick_commands(batch, seeds)
        noise = np.zeros(len(at), batch.input_record)
        noise["row"], noise["seat"], noise["seq"] = at, seat, tick
        for name, low, high in (("move_x", -1, 2), ("move_y", -1, 2), ("aim", 0, 65536), ("buttons", 0, 4)):
            noise[name] = chance.integers(low, high, len(at))
        inputs = np.concatenate([noise, mine.inputs]) if tick else mine.inputs
        result = batch.step(TickCommands(inputs, mine.commands if tick else joins + mine.commands))
        assert not result.failed
        for room, seed in seeds.items():
            found[seed].append(result.hashes[batch.row[room]])
        if tick in (40, 80):  # rows move: the last room takes the row of the one that closes
            closed = 100 + tick
            batch.close(f"r{closed}")
            keep = at != closed
            at, seat = at[keep], seat[keep]
            at = np.where(at == len(batch), closed, at)
    assert found == alone


def test_after_save_and_load_at_any_tick(alone: dict[int, list[int]]) -> None:
    batch = Batch(DUEL.game())
    batch.open("room-7", 7)
    for expected in alone[7]:
        moved = Batch(DUEL.game())
        moved.open("other", 3)
        assert moved.load(batch.save("room-7")) == "room-7"
        result = moved.step(tick_commands(moved, {"room-7": 7}))
        assert result.hashes[1] == expected
        batch = Batch(DUEL.game())
        batch.load(moved.save("room-7"))
        assert batch.hashes() == [expected]


def test_from_the_journal_alone(alone: dict[int, list[int]]) -> None:
    batch, replay = Batch(DUEL.game()), Batch(DUEL.game())
    for one in (batch, replay):
        one.open("room-8", 8)
    for expected in alone[8]:
        commands = tick_commands(batch, {"room-8": 8})
        assert batch.step(commands).hashes == [expected]
        again = decode_commands(encode_commands(commands), batch.game.input_dtype)
        assert replay.step(again).hashes == [expected]


@pytest.mark.parametrize("plain_cpu", [False, True], ids=["another-hash-seed", "cpu-features-off"])
def test_in_another_process(plain_cpu: bool, golden: dict[str, Any]) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "1" if plain_cpu else "4242", "PYTHONDONTWRITEBYTECODE": "1"}
    off = cpu_features() if plain_cpu else []
    if off:
        environment["NPY_DISABLE_CPU_FEATURES"] = " ".join(off)
    done = subprocess.run(
        [sys.executable, "-m", "tests.game.driver"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    answer = json.loads(done.stdout)
    assert answer["cpu_features"] == ([] if plain_cpu else cpu_features())
    assert answer["cases"] == golden


ROOMS = ("a", "b", "c")
SEAT, GENERATION = st.integers(-1, 5), st.integers(0, 3)
ROOM = st.sampled_from((*ROOMS, "nowhere"))
COMMAND: st.SearchStrategy[Command] = st.one_of(
    st.builds(Join, ROOM, st.sampled_from("pqrstu"), st.just("name"), st.just("j")),
    st.builds(Leave, ROOM, SEAT, GENERATION),
    st.builds(Disconnect, ROOM, SEAT, GENERATION, st.integers(0, 5)),
    st.builds(Connect, ROOM, SEAT, GENERATION),
    st.builds(Skip, ROOM, SEAT, GENERATION, st.integers(0, 3), st.integers(0, 3)),
    st.builds(Chat, ROOM, SEAT, GENERATION, st.text(max_size=3)),
)
I1 = st.integers(-128, 127) | st.integers(-1, 1)
INPUT = st.tuples(st.sampled_from(ROOMS), st.integers(0, 3), I1, I1, st.integers(0, 65535), st.integers(0, 255))
TICK = st.tuples(st.lists(COMMAND, max_size=4), st.lists(INPUT, max_size=6, unique_by=lambda one: one[:2]))


def records(batch: Batch, inputs: list[tuple[Any, ...]], commands: list[Command]) -> np.ndarray:
    """These inputs, each the next of its seat once the commands are applied."""
    made = []
    for room, seat, *fields in inputs:
        last, mine = batch.last_seq(room, seat), (room, seat, batch.generation(room, seat))
        for command in commands:
            if isinstance(command, Skip) and (command.room, command.seat, command.generation) == mine:
                last = command.last if command.first == last + 1 <= command.last else last
        made.append((batch.row[room], seat, last + 1, 0, *fields))
    return np.array(made, batch.input_record)


@settings(max_examples=examples(20))
@given(ticks=st.lists(TICK, min_size=1, max_size=40), order=st.permutations(ROOMS), repeats=st.integers(1, 12))
def test_random_commands_in_two_arrangements(
    ticks: list[tuple[list[Command], list[tuple[Any, ...]]]], order: list[str], repeats: int
) -> None:
    options = {"seats": 4, "map": 1, "match_s": 5, "respawn_ms": 100, "protect_ms": 300, "score_limit": 1}
    options |= {"teams": 2, "fillers": 3}
    one, two = Batch(Arena(options, 10)), Batch(Arena(options, 10))
    for room in ROOMS:
        one.open(room, ord(room))
    for room in (*order, "spare"):
        if room == order[-1]:
            two.open("early", 5)
        two.open(room, ord(room[0]))
    players = tuple(Join(room, account, "name", "j") for room in ROOMS for account in "pq")
    for batch in (one, two):
        batch.step(TickCommands(np.zeros(0, batch.input_record), players))
    for count, (commands, inputs) in enumerate(ticks, 1):
        for _ in range(repeats):
            done = [b.step(TickCommands(records(b, inputs, commands), tuple(commands))) for b in (one, two)]
            commands = []
            assert not done[0].failed
            assert not done[1].failed
            for room in ROOMS:
                assert done[0].hashes[one.row[room]] == done[1].hashes[two.row[room]]
                assert done[0].events.get(room) == done[1].events.get(room)
            check_invariants(one)
        if count == 3:
            two.close("early")


def check_invariants(batch: Batch) -> None:
    """What holds in the arena after every tick, whatever was commanded."""
    rows, terms = batch.rows, batch.game.terms  # type: ignore[attr-defined]
    walls = terms.walls
    for side_x in (-HALF, HALF - 1):
        for side_y in (-HALF, HALF - 1):
            tile = ((rows.y + side_y) >> TILE_BITS) * walls.width + ((rows.x + side_x) >> TILE_BITS)
            assert not walls.solid[tile].any()
    people, free = rows.seated != EMPTY, rows.state == lives.EMPTY
    assert not (people & (rows.filler > 0)).any()
    assert (free == ~(people | (rows.filler > 0))).all()
    assert ((rows.filler > 0).any(axis=1) <= people.any(axis=1)).all(), "fillers rest where nobody is"
    assert ((rows.hp > 0) == lives.living(rows)).all()
    assert (rows.hp <= pickups.SHIELDED_HP_MAX).all()
    assert ((rows.team > 0) == ~free).all()
    assert (rows.score >= 0).all()
    still = ~lives.living(rows)
    assert not rows.vx[still].any()
    assert not rows.vy[still].any()
    full = terms.pace.speed[1]
    assert (np.abs(rows.vx) <= full).all()
    assert (np.abs(rows.vy) <= full).all()
    assert not rows.shot[free].any()
    assert not rows.shot[rows.phase == match.INTERMISSION].any()
    assert (rows.ends_at > rows.tick).all()
