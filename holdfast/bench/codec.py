"""`holdfast bench codec`: what a frame is made of, and what making and reading it costs.

    bots' inputs ─► Batch.step ─► FrameEncoder ─► Sealer ═► Opener ─► FrameDecoder ─► the bots' next inputs

Rooms of the arena in this process, every seat played by a bot that sees its frames: all parts are those that a server
and its clients run, without the sockets between. Each player acknowledges as late as it would over a link
(`--ack-ticks`), so deltas are as long as they are in life. The reference is what a server without deltas sends: the
room's view and the player's own values as one msgpack map by name, sealed the same way.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from game.view import Field

WARM_UP_S = 5.0
"""Simulated seconds before anything is counted: everybody has met everybody."""


@click.command()
@click.option("--rooms", type=click.IntRange(1, 1000), default=10, show_default=True, help="Rooms of ten players.")
@click.option("--seconds", type=click.FloatRange(1, 600), default=20.0, show_default=True, help="Simulated time.")
@click.option("--tick-hz", type=click.IntRange(10, 128), default=20, show_default=True, help="Ticks a second.")
@click.option(
    "--ack-ticks", type=click.IntRange(1, 31), default=3, show_default=True, help="Age of the baselines of the deltas."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of rooms and bots.")
@click.option("--json", "file", type=click.Path(path_type=Path), metavar="FILE", help="Write the figures here.")
def codec(rooms: int, seconds: float, tick_hz: int, ack_ticks: int, seed: int, file: Path | None) -> None:
    """Bytes of a frame by part, and µs to encode, seal, open and decode it."""
    measured = measure(rooms, seconds, tick_hz, ack_ticks, seed)
    if file is not None:
        file.write_text(json.dumps(measured, indent=2) + "\n")
    _print(measured)


def measure(rooms: int, seconds: float, tick_hz: int, ack_ticks: int, seed: int) -> dict[str, Any]:
    """Run the rooms and count; see `codec`."""
    import msgpack
    import numpy as np

    from bots.brain import make_brain
    from game.arena import Arena
    from game.batch import Batch
    from game.commands import Join, TickCommands
    from netcode.ends import ACKS_EVERY
    from netcode.frame import ACKS, HEADER, FrameDecoder, FrameEncoder, Readers
    from netcode.play import SeatInfo
    from netcode.seal import SERVER_TO_CLIENT, DatagramType, DropCounters, Opener, Sealer, Suite

    game = Arena({}, tick_hz)
    batch = Batch(game)
    encoder = FrameEncoder(batch)
    layout, names = encoder.layout, [f"room{number}" for number in range(rooms)]
    for number, name in enumerate(names):
        batch.open(name, seed * 1000 + number)
    players = [(row, seat) for row in range(rooms) for seat in range(game.seats)]
    joins = tuple(Join(names[row], f"a{row}-{seat}", "", f"j{row}-{seat}") for row, seat in players)
    batch.step(TickCommands(np.zeros(0, batch.input_record), joins))
    infos = [
        SeatInfo(names[row], game.name, seat, game.seats, 1, tick_hz, game.option, game.inputs, layout)
        for row, seat in players
    ]
    brains = [make_brain(info, seed, number, sees=True) for number, info in enumerate(infos)]
    wanted: list[dict[str, int]] = [{field.name: 0 for field in game.inputs} for _ in players]
    decoders = [FrameDecoder(layout, 1, 0, 0, 0) for _ in players]
    sealers = [Sealer(bytes(32), number, SERVER_TO_CLIENT, Suite.AES_256_GCM) for number in range(len(players))]
    drops = DropCounters()
    openers = [Opener(bytes(32), number, SERVER_TO_CLIENT, Suite.AES_256_GCM, drops) for number in range(len(players))]
    row_of, seat_of = np.array(players, np.int64).T
    zeros, stream = np.zeros_like(row_of), np.ones_like(row_of)

    spent = dict.fromkeys(("encode", "seal", "open", "decode", "reference_pack", "reference_read"), 0.0)
    parts: dict[str, float] = {}
    frames = sealed_bytes = reference_bytes = full_frames = moving = 0
    ticks, warm_up = int((WARM_UP_S + seconds) * tick_hz), int(WARM_UP_S * tick_hz)
    clock = time.perf_counter
    for tick in range(2, ticks + 2):
        records = np.zeros(len(players), batch.input_record)
        records["row"], records["seat"], records["seq"] = row_of, seat_of, tick - 1
        records["rewind"] = min(2, tick)
        for name in game.input_dtype.names or ():
            records[name] = [want[name] for want in wanted]
        before = batch.rows.x.copy()
        batch.step(TickCommands(records))
        counts = tick > warm_up

        begun = clock()
        encoder.push()
        baselines = np.full(len(players), tick - ack_ticks if tick > ack_ticks + 1 else -1)
        plain = encoder.encode(Readers(row_of, seat_of, baselines, stream, zeros, zeros)).strings()
        encoded = clock()
        packets = [sealer.seal(DatagramType.FRAME, data) for sealer, data in zip(sealers, plain, strict=True)]
        sealed = clock()
        opened = [opener.open(packet) for opener, packet in zip(openers, packets, strict=True)]
        unsealed = clock()
        seen = [
            decoder.receive(found[2] if found is not None else b"")
            for decoder, found in zip(decoders, opened, strict=True)
        ]
        decoded = clock()
        for number, frame in enumerate(seen):
            wanted[number].update(brains[number].decide(frame))
        if not counts:
            continue
        spent["encode"] += encoded - begun
        spent["seal"] += sealed - encoded
        spent["open"] += unsealed - sealed
        spent["decode"] += decoded - unsealed
        moving += int((batch.rows.x != before).sum())
        for data, packet, frame, seat in zip(plain, packets, seen, seat_of.tolist(), strict=True):
            assert frame is not None
            frames += 1
            sealed_bytes += len(packet)
            full_frames += data[5] == 0
            _add(parts, "header", HEADER.size)
            _add(parts, "seal", len(packet) - len(data))
            at = dissect("shared", layout.shared, data, HEADER.size, parts)
            at = dissect("own", layout.own, data, at, parts)
            assert at == len(data), "the parts do not add up to the frame"
            plain_view = {field.name: frame.values(field.name) for field in layout.shared}
            plain_view |= {f"own_{field.name}": [frame.own[field.start]] for field in layout.own}
            begun = clock()
            whole = msgpack.packb([tick, seat, plain_view])
            packed = clock()
            msgpack.unpackb(whole)
            spent["reference_read"] += clock() - packed
            spent["reference_pack"] += packed - begun
            reference_bytes += len(whole) + len(packet) - len(data)
    _add(parts, "acks", frames * ACKS.size / ACKS_EVERY)
    bytes_mean = {name: round(total / frames, 2) for name, total in parts.items()}
    return {
        "game": "arena",
        "seats": game.seats,
        "rooms": rooms,
        "tick_hz": tick_hz,
        "ack_ticks": ack_ticks,
        "frames": frames,
        "full_frames": full_frames,
        "moving_share": round(moving / frames, 3),
        "bytes_per_frame": round(sealed_bytes / frames + bytes_mean["acks"], 2),
        "bytes_by_part": dict(sorted(bytes_mean.items(), key=lambda part: -part[1])),
        "us_per_frame": {name: round(spent[name] / frames * 1e6, 2) for name in ("encode", "seal", "open", "decode")},
        "reference": {
            "what": "the whole view as a msgpack map, sealed",
            "bytes_per_frame": round(reference_bytes / frames, 2),
            "us_per_frame": {
                "pack": round(spent["reference_pack"] / frames * 1e6, 2),
                "unpack": round(spent["reference_read"] / frames * 1e6, 2),
            },
        },
    }


def dissect(name: str, fields: tuple[Field, ...], data: bytes, at: int, parts: dict[str, float]) -> int:
    """Add the bytes of the delta at `data[at]` to `parts` by what they are; returns where it ends."""
    codes_at, at = at, at + -(-len(fields) // 4)
    _add(parts, f"{name} codes", at - codes_at)
    changed: list[tuple[Field, int, int]] = []
    for number, field in enumerate(fields):
        code = data[codes_at + number // 4] >> (number % 4 * 2) & 3
        if not code:
            continue
        begin, count = at, 1
        if field.count > 1:
            mask_bytes = -(-field.count // 8)
            if field.count > 16:
                top = data[at : at + -(-mask_bytes // 8)]
                at += len(top)
                mask_bytes = int.from_bytes(top, "little").bit_count()
            count = int.from_bytes(data[at : at + mask_bytes], "little").bit_count()
            at += mask_bytes
        _add(parts, f"{name} masks", at - begin)
        changed.append((field, code, count))
    for field, code, count in changed:
        size = count * (1, 2, 4)[code - 1]
        _add(parts, f"{name} {field.name}", size)
        at += size
    return at


def _add(parts: dict[str, float], name: str, size: float) -> None:
    parts[name] = parts.get(name, 0.0) + size


def _print(measured: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("part", "bytes a frame", title="A frame of the arena", title_justify="left")
    for name, size in measured["bytes_by_part"].items():
        table.add_row(name, f"{size:.2f}")
    table.add_row("all", f"{measured['bytes_per_frame']:.2f}", style="bold")
    reference = measured["reference"]
    table.add_row("reference: whole view in msgpack", f"{reference['bytes_per_frame']:.2f}")
    console = Console()
    console.print(table)
    costs = "  ".join(f"{name} {cost:.1f}" for name, cost in measured["us_per_frame"].items())
    beside = "  ".join(f"{name} {cost:.1f}" for name, cost in reference["us_per_frame"].items())
    console.print(f"µs a frame: {costs}    reference: {beside}")
    console.print(
        f"{measured['frames']:,} frames, {measured['moving_share']:.0%} of the players moving, "
        f"baselines {measured['ack_ticks']} ticks old"
    )
