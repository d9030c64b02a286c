"""`holdfast bench store`: what the embedded store takes to keep what a node keeps, beside the least that could do it.

    appends     a tick's record of N players                      one after the other
    snapshots   32 rooms of ten players at once                   as a node writes them
    claims      all rooms of a dead node, by compare-and-set      as a rescuer takes them
    sessions    a record, sealed                                  as a welcome waits for it

With `process` the reference is a bare SQLite file: the same bytes, one table, one transaction a sample. With `disk` it
is a bare file: write and fdatasync. Ours and theirs take turns, in the same folder. What is stored is real: rooms that
were played, as a node encodes them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cluster.sqlite import SqliteStore
    from holdfast.bench.bare import Bare

DURABILITIES = ("process", "disk")
SNAPSHOTS_AT_ONCE = 32
CLAIMS = 8
"""How often all rooms change hands."""
SEATS = 10
OTHERS_MAX = 0.1


@click.command()
@click.option(
    "--players", default="100,500,1000,2500,5000", show_default=True, metavar="N,N,…", help="Players of a record."
)
@click.option("--samples", type=click.IntRange(1, 100_000), default=200, show_default=True, help="Of each figure.")
@click.option("--rooms", type=click.IntRange(1, 4000), default=500, show_default=True, help="Rooms that are claimed.")
@click.option(
    "--data", type=click.Path(path_type=Path), default=None, help="Measure in this folder.  [default: temporary]"
)
@click.option("--json", "file", type=click.Path(path_type=Path), metavar="FILE", help="Write the figures here.")
def store(players: str, samples: int, rooms: int, data: Path | None, file: Path | None) -> int:
    """Milliseconds to store a tick, snapshots, claims and sessions, by durability."""
    measured = measure(numbers(players, 2), samples, rooms, data)
    if file is not None:
        file.write_text(json.dumps(measured, indent=2) + "\n")
    _print(measured)
    return 0


def numbers(text: str, least: int = 1) -> list[int]:
    """Whole numbers with commas between; raises click.UsageError."""
    try:
        found = [int(word) for word in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < least:
        raise click.UsageError(f"{text!r} is not N,N,… of {least} or more; an example: 100,1000")
    return found


def measure(players: Sequence[int], samples: int, rooms: int, data: Path | None = None) -> dict[str, Any]:
    """Everything, with both durabilities; see `store`."""
    import trio

    from holdfast.bench.machine import filesystem, machine, versions
    from holdfast.bench.serving import Others

    others, figures = Others(), []
    if data is not None:
        data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="holdfast-store-", dir=data) as folder:
        kept = filesystem(Path(folder))
        for durability in DURABILITIES:
            click.echo(f"{durability} …", err=True)
            Path(folder, durability).mkdir()
            figures += trio.run(_measure, Path(folder, durability), durability, players, samples, rooms)
    return {
        "samples": samples,
        "filesystem": kept,
        "figures": figures,
        "others_share": others.share(),
        "machine": machine(),
        "versions": versions(),
    }


async def _measure(
    folder: Path, durability: str, players: Sequence[int], samples: int, rooms: int
) -> list[dict[str, Any]]:
    from cluster.sqlite import SqliteStore
    from holdfast.bench.bare import BareFile, BareTable
    from server.keys import load_keys

    cipher = load_keys(folder).cipher
    bare: Bare = BareTable(folder / "bare.db") if durability == "process" else BareFile(folder / "bare")
    try:
        async with SqliteStore.open(folder / "cluster", durability, cipher) as kept:
            runs = _Runs(kept, bare, durability)
            for number in players:
                await runs.appends(number, samples)
            await runs.snapshots(samples)
            await runs.claims(rooms)
            await runs.sessions(samples)
            return runs.figures
    finally:
        bare.close()


@attrs.define
class _Runs:
    """Each kind of write, sample by sample, ours and the bare one in turn."""

    store: SqliteStore
    bare: Bare
    durability: str
    figures: list[dict[str, Any]] = attrs.field(factory=list)

    async def appends(self, players: int, samples: int) -> None:
        """Records of so many players."""
        import os

        from cluster.codec import encode_record
        from cluster.model import Member, new_incarnation
        from holdfast.bench.past import Played

        me, journals = new_incarnation("bench"), self.store.journals
        await journals.open(Member(incarnation=me, node=me, host="", port=0, pid=os.getpid()))
        played = Played(max(1, players // SEATS), min(players, SEATS))
        records = [encode_record(me, at + 1, [played.tick()]) for at in range(samples)]

        async def ours(at: int) -> None:
            if journals.direct:
                journals.append_now(me, at + 1, records[at])
            else:
                await journals.append(me, at + 1, records[at])

        await self._time("append", samples, ours, lambda at: [records[at]], players=players)

    async def snapshots(self, samples: int) -> None:
        """Some rooms at once, a tick later each time."""
        from cluster.codec import encode_snapshot
        from cluster.model import StoredSnapshot
        from holdfast.bench.past import Played

        played, taken = Played(SNAPSHOTS_AT_ONCE, SEATS), []
        for _ in range(samples):
            played.tick()
            taken.append([StoredSnapshot(s.room, s.epoch, s.tick, encode_snapshot(s)) for s in played.snapshots()])

        async def ours(at: int) -> None:
            await self.store.snapshots.put(taken[at])

        await self._time(
            "snapshots", samples, ours, lambda at: [one.data for one in taken[at]], rooms=SNAPSHOTS_AT_ONCE
        )

    async def claims(self, rooms: int) -> None:
        """All rooms of one incarnation become the next one's."""
        from cluster.model import RoomEntry, Span, dump_entry

        me = [f"bench.{number:016x}" for number in range(CLAIMS + 1)]
        entries = [
            RoomEntry(
                room=f"room{number}",
                game="arena",
                options={},
                tick_hz=20,
                seed=number,
                fingerprint="0" * 32,
                owner=me[0],
                chain=(Span(1, me[0], 1),),
                players=SEATS,
            )
            for number in range(rooms)
        ]
        for entry in entries:
            await self.store.rooms.create(entry)

        async def ours(at: int) -> None:
            taken = await self.store.rooms.claim([entry.room for entry in entries], me[at], 1, me[at + 1], 1)
            assert len(taken) == rooms

        rows = [repr(dump_entry(entry)).encode() for entry in entries]
        await self._time("claims", CLAIMS, ours, lambda _: rows, rooms=rooms)

    async def sessions(self, samples: int) -> None:
        """New sessions, one after the other."""
        import time

        from cluster.model import SessionRecord

        now_s = time.time()
        records = [
            SessionRecord(
                session=f"{number:032x}",
                account=f"account{number:08}",
                name=f"bot-{number:04}",
                secret_hash=bytes(32),
                opened_s=now_s,
                expires_s=now_s + 3600,
            )
            for number in range(samples)
        ]

        async def ours(at: int) -> None:
            await self.store.sessions.open(records[at])

        await self._time("session", samples, ours, lambda at: [repr(records[at]).encode()])

    async def _time(
        self,
        what: str,
        samples: int,
        ours: Callable[[int], Awaitable[None]],
        rows: Callable[[int], list[bytes]],
        **more: int,
    ) -> None:
        from time import perf_counter

        import trio

        taken_ms, bare_ms, size = [], [], 0
        for at in range(samples):
            data = rows(at)
            size += sum(map(len, data))
            begun = perf_counter()
            await ours(at)
            between = perf_counter()
            self.bare.write(data)
            over = perf_counter()
            taken_ms.append((between - begun) * 1000)
            bare_ms.append((over - between) * 1000)
            await trio.lowlevel.checkpoint()
        reference = {"what": self.bare.what, **quantiles(bare_ms)}
        told = {
            "what": what,
            "durability": self.durability,
            **more,
            "bytes": size // samples,
            "ms": quantiles(taken_ms),
        }
        self.figures.append({**told, "reference": reference})


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p99 and max of some durations."""
    by_size = sorted(values)
    last = len(by_size) - 1
    return {
        "p50": round(by_size[last // 2], 4),
        "p99": round(by_size[min(last, int(len(by_size) * 0.99))], 4),
        "max": round(by_size[last], 4),
    }


def _print(measured: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=f"Milliseconds to store, {measured['filesystem']}", title_justify="left", box=None)
    table.padding = (0, 1, 0, 0)
    for name in ("what", "survives", "bytes", "p50", "p99", "max", "bare p50", "p99"):
        table.add_column(name, justify="left" if name in ("what", "survives") else "right", no_wrap=True)
    for one in measured["figures"]:
        ms, bare = one["ms"], one["reference"]
        of = f", {one['players']:,} players" if "players" in one else f" of {one['rooms']}" if "rooms" in one else ""
        times = [f"{value:.2f}" for value in (ms["p50"], ms["p99"], ms["max"], bare["p50"], bare["p99"])]
        table.add_row(one["what"] + of, one["durability"], f"{one['bytes']:,}", *times)
    console.print(table)
    if (share := measured["others_share"]) is not None and share > OTHERS_MAX:
        console.print(f"warning: other programs kept {share:.0%} of the machine busy", style="yellow")
