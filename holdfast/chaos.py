"""`holdfast chaos`: a local cluster with players on it, faults by schedule, and the whole history judged afterwards."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from holdfast.files import raise_file_limit

if TYPE_CHECKING:
    from bots.chaos.history import History

NEMESES = ("kill", "stop", "drain", "mixed")


@click.command()
@click.option("--nodes", type=click.IntRange(2, 16), default=3, show_default=True, help="Nodes of the cluster.")
@click.option("--players", type=click.IntRange(1, 5000), default=120, show_default=True, help="How many bots.")
@click.option("--nemesis", type=click.Choice(NEMESES), default="kill", show_default=True, help="What is done to nodes.")
@click.option("--faults", type=click.IntRange(1, 10_000), default=5, show_default=True, help="How often.")
@click.option("--seed", type=int, default=1, show_default=True, help="Whom it hits, and when.")
@click.option("--match-s", type=click.IntRange(5, 600), default=15, show_default=True, help="Length of a match.")
@click.option(
    "--data", type=click.Path(path_type=Path), default=None, help="Keep everything here.  [default: nothing is kept]"
)
@click.option("--json", "file", type=click.Path(path_type=Path), metavar="FILE", help="Write the report here.")
def chaos(
    nodes: int,
    players: int,
    nemesis: str,
    faults: int,
    seed: int,
    match_s: int,
    data: Path | None,
    file: Path | None,
) -> int:
    """Break a cluster of nodes while bots play on it, and check that nothing was lost or done twice.

    Exit code 1 on any violation.

    \b
    Examples:
      holdfast chaos --nodes 3 --players 120 --nemesis kill --faults 20 --seed 1
      holdfast chaos --nemesis mixed --faults 10 --json out.json
    """
    raise_file_limit()
    if data is not None:
        return _run(data, nodes, players, nemesis, faults, seed, match_s, file)
    with tempfile.TemporaryDirectory(prefix="holdfast-chaos-") as folder:
        return _run(Path(folder), nodes, players, nemesis, faults, seed, match_s, file)


def _run(
    data: Path, nodes: int, players: int, nemesis: str, faults: int, seed: int, match_s: int, file: Path | None
) -> int:
    import trio

    from bots.chaos.checker import check
    from bots.chaos.run import Chaos, run_chaos
    from bots.run import CannotRun
    from holdfast.bench.machine import machine
    from holdfast.games import make_game

    command = [sys.executable, "-m", "holdfast", "serve", "--nodes", str(nodes), "--port", "0", "--data", str(data)]
    command += ["--log-format", "json", "--keep-journals", "true", "-o", f"match_s={match_s}"]
    path = os.pathsep.join([str(Path(__file__).resolve().parent.parent), *filter(None, sys.path)])
    told = Chaos(
        nodes=nodes,
        players=players,
        nemesis=nemesis,
        faults=faults,
        seed=seed,
        command=command,
        environ={**os.environ, "PYTHONPATH": path},
        data=data,
        make_game=lambda name, options, tick_hz: make_game(name, {k: str(v) for k, v in options.items()}, tick_hz),
    )
    data.mkdir(parents=True, exist_ok=True)

    async def main() -> History:
        history = await run_chaos(told, lambda text: click.echo(text, err=True))
        await _enter_profiles(history, data)
        return history

    failed = ""
    found: History | None = None
    try:
        found = trio.run(main)
    except* CannotRun as group:
        failed = str(_first(group))
    if found is None:
        click.echo(f"holdfast chaos: {failed}", err=True)
        return 2
    verdict = check(found)
    result = {
        "nodes": nodes,
        "players": players,
        "nemesis": nemesis,
        "seed": seed,
        **verdict.report(len(found.faults)),
        "machine": machine(),
    }
    if file is not None:
        file.write_text(json.dumps(result, indent=2) + "\n")
    _print(result)
    return 1 if verdict.violations else 0


async def _enter_profiles(history: History, data: Path) -> None:
    """Which results the profiles have counted."""
    from profiles import Profiles

    async with Profiles.open(data / "profiles.db") as profiles:
        for player in history.players:
            if player.account:
                rows = await profiles.history(player.account, 1000)
                history.results_applied.extend(row.op_id for row in rows)
                profile = await profiles.profile(player.account)
                if profile.matches != len(rows):
                    history.broken.append(
                        f"the profile of {player.name} counts {profile.matches} matches, not {len(rows)}"
                    )


def _print(result: Mapping[str, Any]) -> None:
    click.echo(f"faults        {result['faults']} ({result['nemesis']}, seed {result['seed']})")
    for name in ("pauses_ms", "inputs", "results"):
        click.echo(
            f"{name:<13} "
            + "  ".join(f"{key} {value:,}" if value is not None else f"{key} -" for key, value in result[name].items())
        )
    click.echo("  ".join(f"{name} {result[name]}" for name in ("ticks_rewound", "double_hosts", "rooms_lost")))
    for text in result["violations"][:10]:
        click.echo(f"violation: {text}", err=True)
    click.echo(f"violations    {result['violations_count']}")


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
