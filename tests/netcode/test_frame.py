"""Frames: whatever the network does to them, what a client decodes is what the room was at that tick."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from netcode.errors import BadFrame
from netcode.frame import ACKS, BASELINES_MAX, HEADER, Frame, FrameDecoder
from tests.effort import LONG, examples
from tests.netcode.ends import BadLink, Watched, with_acks


def age_of(frame: bytes) -> int:
    age: int = HEADER.unpack_from(frame)[4]
    return age


def check(watched: Watched, room: str, seat: int, frame: Frame | None) -> Frame:
    assert frame is not None
    assert (frame.shared.tolist(), frame.own.tolist()) == watched.truth[room, seat, frame.tick]
    return frame


@pytest.mark.parametrize("seed", range(20 if LONG else 2))
@pytest.mark.parametrize("start", [0, 65_500, 2**31 - 20, 2**32 - 400])
def test_over_a_bad_link_every_frame_is_the_truth(seed: int, start: int) -> None:
    watched = Watched({})
    watched.open("r", seed, start)
    watched.tick()
    clients = [watched.decoder("r") for _ in range(3)]
    down, up = [BadLink(seed * 10 + n, 0.1 + 0.2 * n) for n in range(3)], [BadLink(seed + n) for n in range(3)]
    baselines, seen, deltas = [-1, -1, -1], 0, 0
    for _ in range(300):
        watched.tick()
        frames = watched.frames([("r", seat, baselines[seat]) for seat in range(3)])
        for seat, (client, frame) in enumerate(zip(clients, frames, strict=True)):
            deltas += age_of(frame) > 0
            down[seat].send(frame)
            for data in down[seat].arrived():
                decoded = client.receive(data)
                if decoded is not None:
                    check(watched, "r", seat, decoded)
                    seen += 1
            up[seat].send(client.baseline)
            baselines[seat] = max([baselines[seat], *up[seat].arrived()])
    assert seen > 400
    assert deltas > 600


@hypothesis_settings(max_examples=examples(10))
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=5, max_size=40))
def test_rooms_come_and_go_and_a_former_rooms_frames_are_no_baseline(moves: list[tuple[int, bool]]) -> None:
    watched, count = Watched({"first": 1}), 0
    clients: dict[tuple[str, int], FrameDecoder] = {}
    for slot, closes in moves:
        if closes and len(watched.batch) > 1:
            gone = watched.batch.ids[slot % len(watched.batch)]
            watched.batch.close(gone)
            clients = {at: client for at, client in clients.items() if at[0] != gone}
        else:
            count += 1
            watched.open(f"room-{count}", count, tick=40 * count)
        for _ in range(2):
            watched.tick()
            at = [(room, seat) for room in watched.batch.ids for seat in range(3)]
            for room, seat in at:
                clients.setdefault((room, seat), watched.decoder(room))
            frames = watched.frames([(*who, clients[who].baseline) for who in at])
            for who, frame in zip(at, frames, strict=True):
                check(watched, *who, clients[who].receive(frame))


def test_a_baseline_from_before_the_room_gets_a_full_frame() -> None:
    watched = Watched({"a": 1, "b": 2})
    for _ in range(40):
        watched.tick()
    watched.batch.close("a")
    watched.open("c", 3, tick=30)
    watched.tick()
    (frame,) = watched.frames([("c", 0, 30)])
    assert age_of(frame) == 0
    check(watched, "c", 0, watched.decoder("c").receive(frame))


@pytest.mark.parametrize("age", [1, BASELINES_MAX - 1, BASELINES_MAX, BASELINES_MAX + 1, 39])
def test_a_baseline_serves_for_31_ticks(age: int) -> None:
    watched = Watched({"a": 1})
    watched.tick()
    client = watched.decoder("a")
    for _ in range(40 - age):
        watched.tick()
        check(watched, "a", 1, client.receive(watched.frames([("a", 1, -1)])[0]))
    for _ in range(age):
        watched.tick()
    (frame,) = watched.frames([("a", 1, client.baseline)])
    assert age_of(frame) == (age if age < BASELINES_MAX else 0)
    check(watched, "a", 1, client.receive(frame))


@pytest.mark.parametrize("baseline", [-1, 5, 6, 1000])
def test_a_baseline_that_is_now_or_to_come_gets_a_full_frame(baseline: int) -> None:
    watched = Watched({"a": 1})
    for _ in range(5):
        watched.tick()
    assert age_of(watched.frames([("a", 0, baseline)])[0]) == 0


def test_what_is_shared_is_the_same_bytes_for_all_with_one_baseline() -> None:
    watched = Watched({"a": 1, "b": 2})
    for _ in range(5):
        watched.tick()
    readers = [("a", 0, 3), ("a", 1, 3), ("b", 2, -1), ("a", 2, 4)]
    together = watched.frames(readers)
    assert together == [watched.frames([reader])[0] for reader in readers]
    assert watched.frames([]) == []


def test_the_header_tells_of_the_seat() -> None:
    watched = Watched({"a": 1})
    watched.tick()
    watched.batch.rows.last_seq[0, 2] = 70_000
    (data,) = watched.frames([("a", 2, -1)], streams=9, epochs=3, depths=5)
    client = watched.decoder("a", stream=9, epoch=3, last_seq=69_999)
    frame = check(watched, "a", 2, client.receive(with_acks(data, (7, 8))))
    assert (frame.last_seq, frame.depth, frame.epoch, frame.acks) == (70_000, 5, 3, (7, 8))
    x = int(watched.batch.rows.x[0, 2])
    assert frame.values("x")[2] == x >> 4 << 4
    assert frame.mine("x", 2) == x
    assert frame.mine("ammo", 2) == watched.batch.rows.ammo[0, 2]
    assert frame.mine("angle", 2) == watched.batch.rows.angle[0, 2]
    with pytest.raises(KeyError):
        frame.values("ammo")


def test_other_streams_and_lower_epochs_are_ignored_and_a_higher_one_starts_anew() -> None:
    watched = Watched({"a": 1})
    watched.tick()
    client = watched.decoder("a", stream=4, epoch=260)
    assert client.receive(watched.frames([("a", 0, -1)], streams=5, epochs=4)[0]) is None
    assert client.receive(watched.frames([("a", 0, -1)], streams=4, epochs=3)[0]) is None
    assert client.baseline == -1
    check(watched, "a", 0, client.receive(watched.frames([("a", 0, -1)], streams=4, epochs=4)[0]))
    assert client.baseline == 1
    watched.tick()
    assert client.receive(watched.frames([("a", 0, 1)], streams=4, epochs=5)[0]) is None  # its baseline is of epoch 4
    assert (client.epoch, client.baseline) == (261, -1)
    check(watched, "a", 0, client.receive(watched.frames([("a", 0, -1)], streams=4, epochs=5)[0]))


def test_a_higher_epoch_may_begin_at_a_lower_tick_and_sequence() -> None:
    watched = Watched({"a": 1})
    for _ in range(30):
        watched.tick()
    watched.batch.rows.last_seq[0, 0] = 500
    client = watched.decoder("a", last_seq=499)
    check(watched, "a", 0, client.receive(watched.frames([("a", 0, -1)])[0]))
    assert (client.newest_tick, client.last_seq, client.baseline) == (30, 500, 30)
    again = Watched({"a": 1})
    for _ in range(20):
        again.tick()
    again.batch.rows.last_seq[0, 0] = 480
    frame = check(again, "a", 0, client.receive(again.frames([("a", 0, -1)], epochs=1)[0]))
    assert (frame.epoch, frame.tick, frame.last_seq) == (1, 20, 480)
    assert (client.newest_tick, client.last_seq, client.baseline) == (20, 480, 20)
    assert client.receive(watched.frames([("a", 0, -1)])[0]) is None
    assert client.newest_tick == 20


def test_a_delta_against_a_frame_that_never_came_is_ignored() -> None:
    watched = Watched({"a": 1})
    for _ in range(3):
        watched.tick()
    client = watched.decoder("a")
    assert client.receive(watched.frames([("a", 0, 2)])[0]) is None
    assert client.baseline == -1


def test_without_decoding_everything_but_the_views_is_there() -> None:
    watched = Watched({"a": 1})
    for _ in range(3):
        watched.tick()
    client = watched.decoder("a", decode=False)
    frame = client.receive(watched.frames([("a", 0, 2)], depths=2)[0])
    assert frame is not None
    assert (frame.tick, frame.depth, frame.shared.tolist(), client.baseline) == (3, 2, [], 3)


@given(st.binary(max_size=80), st.booleans())
def test_any_bytes_do_no_worse_than_bad_frame(data: bytes, decode: bool) -> None:
    watched = Watched({"a": 1})
    client = FrameDecoder(watched.encoder.layout, 0, 0, 0, 0, decode)
    try:
        client.receive(data)
        client.receive(b"\x00" * 3 + data)
    except BadFrame:
        pass


def test_a_frame_cut_short_is_refused_and_leaves_the_client_as_it_was() -> None:
    watched = Watched({"a": 1})
    for _ in range(3):
        watched.tick()
    client = watched.decoder("a", tick=2)
    frame = with_acks(watched.frames([("a", 0, -1)])[0], (1, 2))
    for size in range(len(frame)):
        with pytest.raises(BadFrame):
            client.receive(frame[:size])
    assert (client.baseline, client.newest_tick, client.last_seq) == (-1, 2, 0)
    check(watched, "a", 0, client.receive(frame + b"a later section"))
    assert ACKS.size == 6
