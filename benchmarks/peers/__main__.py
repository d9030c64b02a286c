"""`python -m benchmarks.peers`: the same workload on Holdfast and on its peers, in turn, and one table.

    install ─► repeat: every peer once at --players ─► repeat: a search for every peer's capacity ─► table

A machine has better and worse minutes: the peers take turns, so that each has its share of both, and runs in which
other programs used the cores are done again. What was measured is written after every run, so that nothing is lost when
one has to be ended.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import click

from benchmarks.peers.install import Installed, install
from benchmarks.peers.matches import NAMES, PEERS, Peer, Run, run
from benchmarks.peers.search import Search, Verdict
from benchmarks.peers.table import markdown, rows
from holdfast import __version__
from holdfast.bench.machine import machine
from holdfast.bench.serving import CannotMeasure, Cores, ended_by_signals
from holdfast.files import raise_file_limit

AGAIN = 2
"""How often a run is done again because of other programs."""
SEARCH_RUNS_MAX = 14


@click.command()
@click.option("--peers", default=",".join(NAMES), show_default=True, metavar="NAMES", help="Which, in this order.")
@click.option("--players", type=click.IntRange(10, 20_000), default=1000, show_default=True, help="Of the first part.")
@click.option("--repeats", type=click.IntRange(1, 50), default=3, show_default=True, help="Runs of each.")
@click.option("--seconds", type=click.FloatRange(1, 600), default=12.0, show_default=True, help="Length of a window.")
@click.option(
    "--searches",
    type=click.IntRange(0, 50),
    default=1,
    show_default=True,
    help="For the capacity of each; 0: none.",
)
@click.option(
    "--others-max",
    type=click.FloatRange(0, 1),
    default=0.05,
    show_default=True,
    help="Of the machine's time, what other programs may take before a run is discarded.",
)
@click.option("--quick", is_flag=True, help="Only see that all works: 50 players, 3 s, once, nothing discarded.")
@click.option("--json", "file", type=click.Path(path_type=Path), metavar="FILE", help="Write all runs and the table.")
@click.option("--markdown", "page", type=click.Path(path_type=Path), metavar="FILE", help="Write the table.")
def main(
    peers: str,
    players: int,
    repeats: int,
    seconds: float,
    searches: int,
    others_max: float,
    quick: bool,
    file: Path | None,
    page: Path | None,
) -> None:
    """Measure Holdfast and its peers side by side. Installs what it needs into .peers/.

    Wants an idle machine with two cores. Exit code 1 when something could not be measured.
    """
    wanted = [name.strip() for name in peers.split(",") if name.strip()]
    if unknown := sorted(set(wanted) - set(NAMES)) or not wanted:
        raise click.UsageError(f"--peers {peers}: no {unknown}; there are: {', '.join(NAMES)}")
    if quick:
        players, repeats, seconds, searches, others_max = 50, 1, 3.0, 0, 1.0
    raise_file_limit()
    chosen = [next(peer for peer in PEERS if peer.name == name) for name in wanted]
    session = Session(chosen, players // 10 * 10, repeats, searches, seconds, others_max, file)
    try:
        with ended_by_signals():
            session.measure()
    except CannotMeasure as error:
        click.echo(f"benchmarks.peers: {error}", err=True)
        sys.exit(1)
    told = markdown(session.data(), {peer.name: peer.does for peer in PEERS})
    if page is not None:
        page.write_text(told)
    click.echo(told)


@attrs.define
class Session:
    """One call of the command: what is wanted, and what has been measured so far."""

    peers: list[Peer]
    players: int
    repeats: int
    searches: int
    seconds: float
    others_max: float
    file: Path | None
    installed: Installed | None = None
    cores: Cores = attrs.field(factory=Cores.found)
    runs: list[Run] = attrs.field(factory=list)
    """At `players`."""
    search_runs: list[Run] = attrs.field(factory=list)
    capacities: list[dict[str, Any]] = attrs.field(factory=list)
    discarded: int = 0
    warnings: list[str] = attrs.field(factory=list)

    def measure(self) -> None:
        """Install, run all in turn, and write after each. Raises CannotMeasure."""
        if any(peer.dialect is not None for peer in self.peers):
            self.installed = install()
        if not self.cores.pinned:
            self.warnings.append("server and generator were not pinned: this machine has one core, or cannot")
        for number in range(1, self.repeats + 1):
            for peer in self._in_turn(number):
                self._note(f"run {number} of {self.repeats}: {peer.name}, {self.players} players …")
                self.runs.append(self._run(peer, self.players))
                self._write()
        for number in range(1, self.searches + 1):
            for peer in self._in_turn(number):
                self._search(peer, number)
                self._write()

    def _in_turn(self, number: int) -> list[Peer]:
        """The peers, from another one on in every round."""
        first = (number - 1) % len(self.peers)
        return self.peers[first:] + self.peers[:first]

    def _search(self, peer: Peer, number: int) -> None:
        earlier = [one["players"] for one in self.capacities if one["peer"] == peer.name and one["players"]]
        search = Search(earlier[-1] if earlier else peer.first_try)
        for _ in range(SEARCH_RUNS_MAX):
            if (players := search.next()) is None:
                break
            self._note(f"search {number} of {self.searches}: {peer.name}, {players} players …")
            try:
                done = self._run(peer, players)
            except CannotMeasure as error:  # so many that the server does not live, which is an answer
                self.warnings.append(f"{peer.name} with {players} players: {error}")
                search.tell(players, Verdict.BROKEN)
                continue
            self.search_runs.append(done)
            if self._disturbed(done):
                return  # a capacity that hangs on it would be a guess
            search.tell(players, done.verdict)
            self._note(f"  {done.verdict.value}")
        found = {
            "peer": peer.name,
            "players": search.kept,
            "broken": search.broken,
            "by_generator": search.by_generator,
        }
        self.capacities.append(found)

    def _run(self, peer: Peer, players: int) -> Run:
        """A run that other programs did not disturb, or the last of several that they did."""
        for _ in range(AGAIN + 1):
            done = run(peer, players, self.seconds, self.cores, self.installed)
            if done.failure:
                self.warnings.append(f"{peer.name} with {players} players: {done.failure}")
                self._note(f"  {done.failure}")
            if not self._disturbed(done):
                return done
            self.discarded += 1
            self._note(f"  discarded: other programs took {done.others or 0.0:.0%} of the machine")
        self.warnings.append(f"{peer.name} with {players} players was disturbed {AGAIN + 1} times")
        return done

    def _disturbed(self, done: Run) -> bool:
        return done.others is not None and done.others > self.others_max

    def data(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        runs = [_run_data(one) for one in self.runs]
        return {
            "players": self.players,
            "seconds": self.seconds,
            "repeats": self.repeats,
            "searches": self.searches,
            "others_max": self.others_max,
            "discarded": self.discarded,
            "machine": machine(),
            "pinned": {"server": self.cores.server, "generator": self.cores.bots},
            "versions": {"holdfast": version(), **(self.installed.versions if self.installed else {})},
            "commands": {peer.name: _command(peer) for peer in self.peers},
            "table": rows([peer.name for peer in self.peers], runs, self.capacities, self.others_max),
            "warnings": self.warnings,
            "runs": runs,
            "capacities": self.capacities,
            "search_runs": [_run_data(one) for one in self.search_runs],
        }

    def _write(self) -> None:
        if self.file is not None:
            self.file.write_text(json.dumps(self.data(), indent=2) + "\n")

    def _note(self, text: str) -> None:
        click.echo(text, err=True)


def _run_data(one: Run) -> dict[str, Any]:
    return {**attrs.asdict(one), "verdict": one.verdict.value}


def _command(peer: Peer) -> str:
    if peer.dialect is None:
        return shlex.join(["holdfast", "serve", *peer.command]) + "; " + shlex.join(["holdfast", "bots", *peer.bots])
    return shlex.join(["node" if peer.needs_node else "python", *peer.command]) + "; python -m benchmarks.peers.swarm"


def version() -> str:
    """Holdfast's, with the commit."""
    asked = ["git", "describe", "--always", "--dirty"]
    said = subprocess.run(asked, cwd=Path(__file__).parent, capture_output=True, text=True, check=False).stdout.strip()
    return f"{__version__} ({said})" if said else __version__


if __name__ == "__main__":
    main()
