"""What the Python side makes of the protocol and of the arena, as JSON for the tests of the browser's side.

    python -m tests.web.vectors FOLDER     writes one file a subject; tests/web/js reads them (HOLDFAST_VECTORS)

Made anew for every run from the real game and the real codec, so they are never of yesterday. Bytes are hex; numbers
beyond 2**53 are {"big": "…"}, bytes {"hex": "…"} and maps {"map": [[key, value], …]} where JSON has no word for them.
"""

from __future__ import annotations

import json
import random
import struct
import sys
from array import array
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from game.arena import Arena, movement, shots
from game.arena.maps import MAPS
from game.batch import Batch
from game.commands import Join, TickCommands
from game.fixed import TURN, UNIT, cos_sin
from game.view import ViewLayout, view_layout
from netcode import messages
from netcode.acts import ActWindow
from netcode.control import message_bytes
from netcode.errors import BadFrame, ErrorCode
from netcode.frame import Frame, FrameDecoder, FrameEncoder, Readers
from netcode.inputs import InputWindow
from netcode.interpolate import Interpolator, Playhead
from netcode.predict import Predictor
from netcode.sequence import widen
from netcode.steering import Steering
from netcode.timesync import TickClock
from tests.netcode.ends import with_acks

SEED = 20
LAG = 3
"""Ticks that an input takes to the server in the vectors of play."""


def errors() -> Any:
    """Every code: name, number, wire name, retryable."""
    return [[code.name, code.number, code.wire_name, code.retryable] for code in ErrorCode]


def packed() -> Any:
    """Values and their msgpack; `back` false: only to be read (JavaScript has another shortest form for them)."""
    chance = random.Random(SEED)
    values: list[Any] = [None, True, False, "", "text", "ü€𝄞" * 20, "x" * 31, "x" * 32, "x" * 255, "x" * 70_000]
    values += [b"", bytes(range(256)), b"\0" * 70_000, [], list(range(15)), list(range(16)), [0] * 70_000, [[], [[]]]]
    values += [{}, {"a": 1, "b": [None, {"c": b"d"}]}, {str(n): n for n in range(16)}, {1: "one", -5: "five", "x": {}}]
    values += [0.5, -1.25, 1e300, float("inf")]
    for bits in range(65):
        values += [(1 << bits) - 1, -(1 << min(bits, 63))]
    values += [1 << 63, (1 << 53) + 1, -(1 << 53) - 1]
    values += [chance.getrandbits(chance.randint(1, 63)) * chance.choice((1, -1)) for _ in range(100)]
    known = [{"value": _plain(value), "hex": msgpack.packb(value).hex(), "back": True} for value in values]
    known.append({"value": 1.5, "hex": msgpack.packb(1.5, use_single_float=True).hex(), "back": False})
    known.append({"value": 7, "hex": "cf0000000000000007", "back": False})
    bad = [
        "",
        "c1",
        "d9ff61",
        "dd7fffffff",
        "df7fffffff",
        "c47f00",
        "92c0",
        "c0c0",
        "a1ff",
        "c70100",
        "91" * 600 + "c0",
    ]
    return {"good": known, "bad": bad}


def _plain(value: Any) -> Any:
    match value:
        case bytes():
            return {"hex": value.hex()}
        case float() if value == float("inf"):
            return {"infinity": True}
        case bool():
            return value
        case int() if abs(value) >= 1 << 53:
            return {"big": str(value)}
        case list():
            return [_plain(each) for each in value]
        case dict():
            return {"map": [[_plain(key), _plain(each)] for key, each in value.items()]}
    return value


def control() -> Any:
    """A message of every kind that a client says, framed as this side sends it."""
    said: list[messages.Message] = [
        messages.Hello(protocol=1, agent="example"),
        messages.Login(secret=bytes(32), name="Ada"),
        messages.Resume(session="ab" * 16, secret=bytes(range(32)), event_tick=5, event_index=2**32 - 1, above=3),
        messages.Join(ref=2**31 - 1, game="arena", options={"map": 1}),
        messages.Act(seq=300, data=b"\x01\x02"),
        messages.Ping(time_us=2**52 + 12345),
    ]
    return [
        {"message": _plain(msgpack.unpackb(message_bytes(each)[5:])), "hex": message_bytes(each).hex()} for each in said
    ]


def widened() -> Any:
    """(low, bits, near, value)."""
    chance = random.Random(SEED)
    cases = []
    for _ in range(500):
        bits = chance.choice((8, 16))
        near = chance.choice((chance.randrange(300), chance.randrange(1 << 17), chance.randrange(1 << 32)))
        low = chance.randrange(1 << bits)
        cases.append([low, bits, near, widen(low, bits, near)])
    return cases


def trigonometry() -> Any:
    """Cosine and sine of every direction there is, and of angles between."""
    angles = np.concatenate([np.arange(0, TURN, 16), np.arange(-20, 20), np.arange(7, 3 * TURN, 997)])
    cos, sin = cos_sin(angles)
    return {"angles": angles.tolist(), "cos": cos.tolist(), "sin": sin.tolist()}


def maps() -> Any:
    """Every tile, every item."""
    return [
        {
            "name": walls.name,
            "width": walls.width,
            "solid": "".join("#" if solid else "." for solid in walls.solid.tolist()),
            "items": [list(pair) for pair in zip(walls.item_kind.tolist(), walls.item_tile.tolist(), strict=True)],
        }
        for walls in MAPS
    ]


def moves() -> Any:
    """Walks on each map at many tick rates, along and into walls, by the server's own function."""
    walks = []
    for tick_hz in (10, 20, 30, 60, 64, 128):
        for number, walls in enumerate(MAPS):
            chance = random.Random(f"{SEED}/{tick_hz}/{number}")
            start = chance.randrange(len(walls.spawn_x))
            pace = movement.Pace.at(tick_hz)
            at = [np.array([[value]], np.int32) for value in (walls.spawn_x[start], walls.spawn_y[start], 0, 0)]
            steps, first = [], [int(value[0, 0]) for value in at]
            wish = [0, 0]
            for step in range(400):
                if step % max(1, tick_hz // 8) == 0:
                    wish = [chance.randint(-1, 1), chance.randint(-1, 1)]
                keys = [np.array([[key]], np.int8) for key in wish]
                at = list(movement.move(pace, walls, *at, *keys))
                steps.append([*wish, *(int(value[0, 0]) for value in at)])
            walks.append({"tick_hz": tick_hz, "map": number, "start": first, "steps": steps})
    return walks


def flights() -> Any:
    """Shots at all their ages: records as frames carry them, and where they are by the server's own function."""
    cases = []
    for tick_hz in (10, 30, 128):
        ballistics = shots.Ballistics.at(tick_hz)
        chance = random.Random(f"{SEED}/{tick_hz}")
        for _ in range(40):
            tick, angle, rail = chance.randrange(1 << 31), chance.randrange(TURN), chance.random() < 0.3
            x, y = chance.randrange(64 * UNIT, 1400 * UNIT), chance.randrange(64 * UNIT, 1400 * UNIT)
            shot = shots.pack_shot(np.array([tick], np.uint32), np.array([angle]), np.array([rail]))
            origin = shots.pack_origin(np.array([x], np.int32), np.array([y], np.int32))
            age = chance.randint(0, ballistics.life_ticks)
            now = np.array([tick + age], np.uint32)
            assert int(shots.age_of(shot, now)[0]) == age
            at_x, at_y = shots.place(ballistics, shot, origin, np.array([age]))
            cases.append(
                {
                    "tick_hz": tick_hz,
                    "life": ballistics.life_ticks,
                    "beam": ballistics.beam_ticks,
                    "tick": tick + age,
                    "shot": int(shot[0]),
                    "rail": rail,
                    "from": [x, y],
                    "age": age,
                    "at": [int(at_x[0]), int(at_y[0])],
                }
            )
    return cases


def inputs() -> Any:
    """Windows of inputs and the packets that carry them."""
    chance = random.Random(SEED)
    fields = [(field.name, field.dtype, field.low, field.high) for field in Arena().inputs]
    cases = []
    for _ in range(60):
        last = chance.choice((0, 65530, chance.randrange(1 << 32)))
        window, wanted = InputWindow(last), []
        for _ in range(chance.randint(0, 32)):
            values = [chance.randint(low, high) for _, _, low, high in fields]
            window.add(struct.pack("<bbHB", *values))
            wanted.append(values)
        acknowledged = last + chance.randint(0, len(wanted))
        window.acknowledge(acknowledged)
        baseline = chance.choice((-1, chance.randrange(1 << 20)))
        seen = chance.randrange(1 << 20)
        stream = chance.randrange(256)
        cases.append(
            {
                "last_seq": last,
                "wanted": wanted,
                "acknowledged": acknowledged,
                "stream": stream,
                "baseline": baseline,
                "seen": seen,
                "hex": window.packet(stream, (0, 0), baseline, seen).hex(),
            }
        )
    return {"fields": fields, "cases": cases}


def acts() -> Any:
    """A window of acts: what is sent again after some were applied."""
    window = ActWindow(7)
    for number in range(5):
        window.add(msgpack.packb(["extend", bytes([number])]))
    settled = window.acknowledge(9)
    again = [[act.seq, act.data.hex()] for act in window.unsettled()]
    return {"last_seq": 7, "count": 5, "acknowledged": 9, "settled": settled, "again": again}


def play() -> Any:
    """A seat in the real arena among others, played LAG ticks ahead of the server: frames as they come (full ones,
    deltas, lost ones, with acknowledgements, across a new epoch) and what a client of ours makes of each."""
    return [_play(game) for game in (Arena({"fillers": 6}, 30), Arena({"seats": 16, "map": 1, "fillers": 16}, 64))]


def _play(game: Arena) -> dict[str, Any]:
    chance = random.Random(f"{SEED}/{game.tick_hz}")
    seat, last, wanted = 2, 0, dict.fromkeys((field.name for field in game.inputs), 0)
    batch = Batch(game)
    encoder = FrameEncoder(batch)
    batch.open("r", 7)
    joins = tuple(Join("r", f"account-{number}", "", f"join-{number}") for number in range(seat + 1))
    batch.step(TickCommands(np.zeros(0, batch.input_record), joins))
    layout, tick = view_layout(game), batch.tick_of("r")
    decoder = FrameDecoder(layout, 9, 250, tick, 0)
    predictor = Predictor(game, seat)
    baseline, epoch, under_way, steps = -1, 250, [], []
    for step in range(360):
        if step % 5 == 0:
            wanted = {
                "move_x": chance.randint(-1, 1),
                "move_y": chance.randint(-1, 1),
                "aim": chance.randrange(65536),
                "buttons": chance.choice((0, 0, 1, 2)),
            }
        last += 1
        predictor.sent(last, wanted, step / game.tick_hz)
        under_way.append((last, dict(wanted)))
        record = np.zeros(1 if len(under_way) > LAG else 0, batch.input_record)
        if len(record):
            seq, applied = under_way.pop(0)
            record["seat"], record["seq"] = seat, seq
            for name, value in applied.items():
                record[name] = value
        assert not batch.step(TickCommands(record, ())).failed
        encoder.push()
        if step == 200:
            epoch, baseline = 256, -1  # its low byte is smaller
        one = np.zeros(1, np.int64)
        readers = Readers(one, one + seat, one + baseline, one + 9, one + epoch % 256, one + len(under_way))
        data = encoder.encode(readers).string(0)
        if step % 8 == 0:
            data = with_acks(data, (step, 0xFFFFFFFF))
        sent = {"wanted": list(wanted.values()), "seq": last}
        if step % 11 == 10:  # lost on its way
            steps.append(sent)
            continue
        frame = decoder.receive(data)
        assert frame is not None
        predictor.frame(frame, step / game.tick_hz)
        assert predictor.state is not None
        if step % 4 == 0:  # acknowledgements come late
            baseline = frame.tick
        steps.append(
            sent
            | {
                "frame": data.hex(),
                "tick": frame.tick,
                "epoch": frame.epoch,
                "last_seq": frame.last_seq,
                "depth": frame.depth,
                "shared": frame.shared.tolist(),
                "own": frame.own.tolist(),
                "predicted": predictor.state,
            }
        )
    books = predictor.corrections
    assert books.compared > 200
    return {
        "tick_hz": game.tick_hz,
        "options": dict(game.option),
        "inputs": [[field.name, field.dtype, field.low, field.high] for field in game.inputs],
        "view": layout.describe(),
        "seat": seat,
        "seats": game.seats,
        "stream": 9,
        "epoch": 250,
        "tick": tick,
        "steps": steps,
        "corrections": {"compared": books.compared, "count": books.count, "jumps": books.jumps},
    }


def timing() -> Any:
    """A client's clock, input clock, playhead and what it draws, over a link with jitter, a loss now and then, and a
    pause of the server: what each frame and each input makes of them."""
    chance = random.Random(SEED)
    tick_hz, seats, pause_s = 30, 3, 0.0
    layout = ViewLayout.from_description(
        {
            "shared": [
                _field("x", "seat", seats, 16, shift=8),
                _field("facing", "seat", seats, 8, shift=8),
                _field("state", "seat", seats, 8),
                _field("phase", "room", 1, 8),
            ],
            "own": [],
        }
    )
    clock = TickClock(tick_hz)
    steering, playhead, drawn = Steering(clock, 0), Playhead(clock), Interpolator(layout, tick_hz)
    steps: list[dict[str, Any]] = []
    made, arrived = 0, 0
    xs, facings = [100, 400, 60_000], [0, 128, 250]
    for tick in range(1, 400):
        pause_s += 0.4 if tick == 250 else 0.0
        now = tick / tick_hz + pause_s + 0.02 + chance.random() ** 3 * 0.03
        while steering.due_at <= now and made - arrived < 30:
            made += 1
            at = max(steering.due_at, now - 0.01) if made > 1 else now
            steering.made(made, at)
            steps.append({"made": made, "at": at})
        arrived = max(arrived, made - chance.choice((0, 1, 1, 2)))
        last_seq = max(0, arrived - chance.choice((0, 0, 1)))
        xs = [(x + chance.randint(-3, 3)) & 0xFFFF if chance.random() < 0.98 else chance.randrange(1 << 16) for x in xs]
        facings = [(facing + chance.randint(-9, 9)) & 0xFF for facing in facings]
        if chance.random() < 0.05:
            continue
        states = [1, 1 + (tick // 40) % 2, 1]
        shared = [*xs, *facings, *states, tick // 100]
        frame = Frame(tick, last_seq, arrived - last_seq, 1, None, layout, array("q", shared))
        clock.frame(tick, now)
        steering.frame(tick, last_seq, arrived - last_seq, now)
        drawn.add(frame)
        later = now + chance.random() * 0.05
        moment = playhead.at(later)
        steps.append(
            {
                "tick": tick,
                "now": now,
                "last_seq": last_seq,
                "depth": arrived - last_seq,
                "shared": shared,
                "later": later,
                "jitter_ms": clock.jitter_ms,
                "arrival": clock.arrival_of(tick),
                "lead_s": steering.lead_s,
                "due_at": steering.due_at,
                "playhead": moment,
                "drawn": drawn.at(moment),
            }
        )
    return {"tick_hz": tick_hz, "view": layout.describe(), "steps": steps}


def _field(name: str, per: str, count: int, bits: int, shift: int = 0) -> dict[str, Any]:
    return {
        "name": name, "per": per, "count": count, "bits": bits, "signed": False, "shift": shift, "exact": False
    }  # fmt: skip


def broken() -> Any:
    """Frames of a made-up view with a byte cut off, changed or added: what becomes of each, a view or BadFrame."""
    chance = random.Random(SEED)
    game = Arena({"seats": 16, "fillers": 16}, 30)
    batch, layout = Batch(game), view_layout(game)
    encoder = FrameEncoder(batch)
    batch.open("r", 3)
    batch.step(TickCommands(np.zeros(0, batch.input_record), (Join("r", "a", "", "j"),)))
    encoder.push()
    one = np.zeros(1, np.int64)
    whole = encoder.encode(Readers(one, one, one - 1, one, one, one)).string(0)
    cases = []
    for _ in range(300):
        data = bytearray(whole)
        match chance.randrange(3):
            case 0:
                data = data[: chance.randrange(len(data))]
            case 1:
                data[chance.randrange(9, len(data))] = chance.randrange(256)
            case _:
                data += bytes([chance.randrange(256)])
        decoder = FrameDecoder(layout, 0, 0, batch.tick_of("r"), 0)
        try:
            frame = decoder.receive(bytes(data))
        except BadFrame:
            cases.append({"hex": data.hex(), "bad": True})
        else:
            views = None if frame is None else [frame.shared.tolist(), frame.own.tolist()]
            cases.append({"hex": data.hex(), "bad": False, "views": views})
    return {"view": layout.describe(), "tick": batch.tick_of("r"), "cases": cases}


SUBJECTS = {
    make.__name__: make
    for make in (
        errors,
        packed,
        control,
        widened,
        trigonometry,
        maps,
        moves,
        flights,
        inputs,
        acts,
        play,
        timing,
        broken,
    )
}


def write(folder: Path) -> None:
    """One file a subject."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in SUBJECTS.items():
        (folder / f"{name}.json").write_text(json.dumps(make(), separators=(",", ":")))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.web.vectors FOLDER")
    write(Path(sys.argv[1]))
