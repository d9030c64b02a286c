"""Which peers there are, and one run of one of them: its server on one core, the generator on another.

    this process (waits) ── starts ──► the server      on one core; says `listening PORT`; its log in a file
                         └─ starts ──► the generator   on another; its report as JSON

Holdfast is measured by its own bots, who speak its protocol, all others by `swarm.py`; the rules and the names of the
figures are the same. Both reports are brought into one shape here: `Run`.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from benchmarks.peers.install import HERE, SERVERS, Installed, environ
from benchmarks.peers.search import Verdict, judge
from benchmarks.peers.swarm import rss_mb
from holdfast.bench.serving import CannotMeasure, Cores, Others, bots, server

FULL_SHARE = "0.05"
"""Of Holdfast's bots, those that decode all they see, as many as in `swarm.py`."""
START_S = 20.0
STOP_S = 5.0
LOOK_EVERY_S = 0.05
JOIN_PER_S = 20.0
"""So many players come in in a second at least."""


@attrs.frozen
class Peer:
    """Something that is measured."""

    name: str
    dialect: str | None
    """How the generator speaks to it (`dialects.DIALECTS`); None: by Holdfast's own bots."""
    command: tuple[str, ...]
    """What starts the server: its file in `servers/` and the arguments; of Holdfast: the options of `serve`."""
    first_try: int
    """Players with whom the search for its capacity begins."""
    does: str
    """What it does less or more than the others."""
    bots: tuple[str, ...] = ()
    """Of Holdfast: arguments of `holdfast bots`."""

    @property
    def needs_node(self) -> bool:
        """Whether Node runs it."""
        return bool(self.command) and self.command[0].endswith(".mjs")


_HOLDFAST = "journal and gate on; deltas for each client against the frame that it has acknowledged"
_COLYSEUS = "not encrypted, no journal; deltas of the state, one patch a room"
_PLAIN = "not encrypted, no journal, no deltas: one binary frame a room"
_AT_TICK = "by broadcastPatch() at the tick's end"
_BY_TIMER = "by its own timer"
PEERS = (
    Peer("holdfast", None, ("--tick-hz", "20"), 5000, f"encrypted UDP, {_HOLDFAST}; the whole arena game"),
    Peer(
        "holdfast-walk",
        None,
        ("--tick-hz", "20", "--game", "benchmarks.walk:Walk"),
        5000,
        f"encrypted UDP, {_HOLDFAST}; players who walk, as with the others",
    ),
    Peer(
        "holdfast-ws",
        None,
        ("--tick-hz", "20"),
        2000,
        f"WebSocket, not encrypted; {_HOLDFAST}; the whole arena game",
        ("--transport", "ws"),
    ),
    Peer(
        "colyseus-messages",
        "colyseus-messages",
        ("colyseus.mjs", "messages", "timer"),
        1000,
        f"{_COLYSEUS}, {_BY_TIMER}",
    ),
    Peer(
        "colyseus-messages-at-tick",
        "colyseus-messages",
        ("colyseus.mjs", "messages", "tick"),
        1000,
        f"{_COLYSEUS}, {_AT_TICK}",
    ),
    Peer(
        "colyseus-input",
        "colyseus-input",
        ("colyseus.mjs", "input", "timer"),
        1000,
        f"defineInput, setFixedTimestep; {_COLYSEUS}, {_BY_TIMER}",
    ),
    Peer(
        "colyseus-input-at-tick",
        "colyseus-input",
        ("colyseus.mjs", "input", "tick"),
        1000,
        f"defineInput, setFixedTimestep; {_COLYSEUS}, {_AT_TICK}",
    ),
    Peer("ws", "plain", ("ws.mjs",), 1800, _PLAIN),
    Peer("websockets", "plain", ("asyncio_websockets.py",), 1100, _PLAIN),
    Peer("websockets-uvloop", "plain", ("asyncio_websockets.py", "uvloop"), 1400, _PLAIN),
)
NAMES = tuple(peer.name for peer in PEERS)


@attrs.frozen
class Run:
    """What one run of one peer showed."""

    peer: str
    players: int
    verdict: Verdict
    others: float | None
    """Of the machine's time, what other programs took; None where the system does not tell."""
    memory_kb_per_client: float | None
    report: dict[str, Any]
    """The generator's, whole; empty when not all players could come in."""
    failure: str = ""
    """Why there is no report."""


def run(peer: Peer, players: int, seconds: float, cores: Cores, installed: Installed | None) -> Run:
    """One run. Raises CannotMeasure where the server does not start or the generator fails for another reason than
    that the server does not let the players in."""
    others = Others()
    if peer.dialect is None:
        report, failure = _holdfast(peer, players, seconds, cores)
    else:
        assert installed is not None
        report, failure = _other(peer, players, seconds, cores, installed)
    memory = report.get("server", {})
    after_mb, before_mb = memory.get("rss_mb"), memory.get("rss_mb_before")
    kb = None if after_mb is None or before_mb is None else (after_mb - before_mb) * 1e3 / players
    return Run(peer.name, players, judge(report), others.share(), kb, report, failure)


def _holdfast(peer: Peer, players: int, seconds: float, cores: Cores) -> tuple[dict[str, Any], str]:
    """By `holdfast serve` and `holdfast bots`, as users run them: the whole command is here."""
    limits = ["--rooms-max", str(players), "--sessions-max", str(players + 100)]
    with server([*peer.command, *limits], cores.server) as serving:
        before_mb = rss_mb(serving.pid)
        try:
            report = bots(serving.address, players, seconds, cores.bots, [*peer.bots, "--full-share", FULL_SHARE])
        except CannotMeasure as error:  # so many that they cannot all come in
            return {}, str(error)
    report["server"]["rss_mb_before"] = before_mb
    return report, ""


def _other(peer: Peer, players: int, seconds: float, cores: Cores, installed: Installed) -> tuple[dict[str, Any], str]:
    with (
        tempfile.TemporaryDirectory(prefix="holdfast-peers-") as folder,
        _serving(peer, cores, installed, folder) as (port, serving),
    ):
        window = ["--dialect", str(peer.dialect), "--players", str(players), "--seconds", str(seconds)]
        whom = ["--port", str(port), "--pid", str(serving.pid)]
        command = [sys.executable, "-m", "benchmarks.peers.swarm", *whom, *window]
        limit_s = START_S + players / JOIN_PER_S + seconds * 2
        with _started(command, cores.bots, folder, "swarm", dict(os.environ)) as (swarm, said, complained):
            try:
                code = swarm.wait(limit_s)
            except subprocess.TimeoutExpired:
                return {}, f"the players were not all there after {limit_s:.0f} s"
        if (died := serving.poll()) is not None:
            return {}, f"the server ended with code {died}: {_last_line(Path(folder, 'server.err'))}"
        if code == 1 and not said.read_text().strip():
            return {}, _last_line(complained)
        if code:
            raise CannotMeasure(f"the generator ended with code {code}: {_last_line(complained)}")
        report: dict[str, Any] = json.loads(said.read_text())
        return report, ""


@contextlib.contextmanager
def _serving(
    peer: Peer, cores: Cores, installed: Installed, folder: str
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The server of a peer as (port, process), until the block ends."""
    program = [str(installed.node), str(installed.node_servers / peer.command[0])]
    if not peer.needs_node:
        program = [sys.executable, str(SERVERS / peer.command[0])]
    command = [*program, *peer.command[1:]]
    with _started(command, cores.server, folder, "server", environ(installed.python_path)) as (
        process,
        said,
        complained,
    ):
        for _ in range(int(START_S / LOOK_EVERY_S)):
            if said.read_text().endswith("\n"):
                break
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_EVERY_S)
                break
        word, _, port = said.read_text().strip().partition(" ")
        if word != "listening":
            raise CannotMeasure(f"{peer.name} did not start: {_last_line(complained) or 'it said nothing'}")
        yield int(port), process


@contextlib.contextmanager
def _started(
    command: list[str], core: int | None, folder: str, name: str, environment: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], Path, Path]]:
    """A process on a core, and the files with what it says; ended with the block."""
    said, complained = Path(folder, f"{name}.out"), Path(folder, f"{name}.err")
    before = os.sched_getaffinity(0)
    with said.open("wb") as out, complained.open("wb") as err:
        if core is not None:
            os.sched_setaffinity(0, {core})  # inherited from the first thread on
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=HERE.parent.parent,
                env=environment,
                start_new_session=True,
            )
        finally:
            os.sched_setaffinity(0, before)
    try:
        yield process, said, complained
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _last_line(said: Path) -> str:
    lines = said.read_text(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else ""
