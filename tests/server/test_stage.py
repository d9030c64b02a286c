"""What a tick collects from its players, and which frames it makes for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from game.commands import Skip
from netcode.errors import BadFrame
from netcode.frame import HEADER
from netcode.inputs import HEADER as INPUT_HEADER
from netcode.inputs import InputWindow
from netcode.server_end import Channel
from server.row_stage import RowOccupant as Occupant
from server.stage import COMMANDS_A_TICK, COMMANDS_MAX
from tests.server.helpers import FakeLink, Rig


def seats(rig: Rig, count: int) -> list[tuple[Occupant, FakeLink]]:
    room, found = rig.open(), []
    for number in range(count):
        session, link = rig.session(len(rig.host.rooms.by_id) * 100 + number)
        rig.join(session, room, 0)
        rig.tick()
        assert isinstance(session.seat, Occupant)
        found.append((session.seat, link))
    return found


def packet(occupant: Occupant, newest: int, count: int, *, baseline: int = -1, seen: int = 0) -> bytes:
    head = INPUT_HEADER.pack(
        int(baseline >= 0), occupant.stream, 0, 0, baseline & 0xFFFF, seen & 0xFFFF, newest & 0xFFFF, count
    )
    return head + bytes([1]) * count


async def test_one_input_a_seat_a_tick_with_what_its_player_saw(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    (ann, _), (bob, _) = seats(rig, 2)
    stage = rig.host.rooms.stages[0]
    tick = int(stage.batch.rows.tick[0])
    ann.receive(packet(ann, 3, 3, seen=tick - 2))
    bob.receive(packet(bob, 1, 1, seen=tick + 1000))
    collected = stage.collect()
    assert collected.inputs["seat"].tolist() == [0, 1]
    assert collected.inputs["seq"].tolist() == [1, 1]
    assert collected.inputs["rewind"].tolist() == [4, 0]  # two inputs ago; nobody has seen the future
    assert collected.inputs["add"].tolist() == [1, 1]
    assert collected.commands == ()
    assert stage.collect().inputs["seq"].tolist() == [2]
    ann.leaving = True
    assert len(stage.collect().inputs) == 0


async def test_a_dropped_range_becomes_a_skip_in_the_tick_of_the_input_after_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    ((ann, _),) = seats(rig, 1)
    ann.receive(packet(ann, 9, 2))
    collected = rig.host.rooms.stages[0].collect()
    assert collected.commands == (Skip(ann.room, 0, ann.generation, 1, 7),)
    assert collected.inputs["seq"].tolist() == [8]
    rig.host.rooms.stages[0].step(collected)
    assert rig.host.rooms.stages[0].batch.rows.last_seq[0, 0] == 8


async def test_baselines_only_grow_and_never_lie_in_the_future(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    ((ann, _),) = seats(rig, 1)
    rig.tick(50)
    for baseline, kept in ((10, 10), (9, 10), (51, 51), (52, 51), (30_000, 51), (11, 51)):
        ann.receive(packet(ann, 0, 0, baseline=baseline))
        ann.stage.take_in()
        assert ann.stage.queues.baseline[ann.place] == kept
    ann.receive(packet(ann, 0, 0, baseline=-1))
    ann.stage.take_in()
    assert ann.stage.queues.baseline[ann.place] == 51


async def test_malformed_packets_and_other_streams_change_nothing(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    ((ann, _),) = seats(rig, 1)
    for data in (b"", packet(ann, 1, 1)[:-1], packet(ann, 1, 1) + b"x", packet(ann, 40, 33)):
        with pytest.raises(BadFrame):
            ann.receive(data)
    ann.stream += 1
    other = packet(ann, 1, 1, baseline=1)
    ann.stream -= 1
    ann.receive(other)
    ann.stage.take_in()
    assert (ann.stage.queues.waiting[ann.place], ann.stage.queues.baseline[ann.place]) == (0, -1)


async def test_rows_follow_when_rooms_close(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    first, last = rig.open(), seats(rig, 2)
    rig.host.rooms.close(first)
    window = InputWindow(0)
    for _ in range(3):
        window.add(b"\x05")
    for occupant, _ in last:
        occupant.receive(window.packet(occupant.stream, (0, 0), -1, 0))
    rig.tick(3)
    np.testing.assert_array_equal(rig.host.rooms.stages[0].batch.rows.sum[0], [15, 15, 0, 0])
    assert len(last[0][1].frames) == 5


async def test_frames_carry_the_depth_and_only_go_to_who_can_hear(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    (ann, heard), (bob, silent) = seats(rig, 2)
    bob.session.end.channel = Channel.UNKNOWN
    before = len(silent.frames)
    ann.receive(packet(ann, 5, 5))
    rig.tick()
    assert HEADER.unpack_from(heard.frames[-1])[6] == 4
    assert len(silent.frames) == before


async def test_a_stage_takes_so_many_commands_and_does_so_many_a_tick_in_order(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    ((ann, _),) = seats(rig, 1)
    stage = rig.host.rooms.stages[0]
    commands = [Skip(ann.room, 0, 1, n, n) for n in range(COMMANDS_MAX + 1)]
    assert [stage.submit(command) for command in commands] == [True] * COMMANDS_MAX + [False]
    assert stage.collect().commands == tuple(commands[:COMMANDS_A_TICK])
    assert stage.collect().commands == tuple(commands[COMMANDS_A_TICK : 2 * COMMANDS_A_TICK])
