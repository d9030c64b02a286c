"""`holdfast demo`: a cluster and bots in one command, with a live view, and nodes to be killed.

    this process: bots (full clients), view, kills ──── sockets, signals ────► child: holdfast serve --nodes 3

The server is the real command in a process of its own, and all that is shown is real: the server's log, who owns which
room in its store, what any client can ask, and the bots' frames. The server starts first and the rest is imported
meanwhile, so that the demo is there within seconds.

    launch    the server's process           picture   what is shown, as plain values
    run       the demo's life                kills     what kills meant to players
    act       looks at the cluster, kills    view      how it looks
    keys      single keys of a terminal
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import attrs
import click

from holdfast.demo.keys import single_keys
from holdfast.demo.launch import free_port, server_process
from holdfast.options import settings_options
from server.settings import Settings


@click.command()
@click.option("--players", type=click.IntRange(1, 1000), default=40, show_default=True, help="How many bots.")
@click.option(
    "--seconds", type=click.FloatRange(0, 86_400), default=0.0, show_default=True, help="How long; 0: until Ctrl-C."
)
@click.option(
    "--nodes", type=click.IntRange(1, 16), default=3, show_default=True, help="Node processes; with 1 none is killed."
)
@click.option(
    "--kill-after",
    type=click.FloatRange(0, 86_400),
    default=20.0,
    show_default=True,
    metavar="SECONDS",
    help="When a node is killed by itself, once; 0: never.",
)
@click.option(
    "--page", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port of the page, where it is free."
)
@click.option("--open/--no-open", "show", default=None, help="Open the page in a browser; where there is a desktop.")
@settings_options("game", "tick_hz", "options")
def demo(
    settings: Settings, players: int, seconds: float, nodes: int, kill_after: float, page: int, show: bool | None
) -> int:
    """Server, bots and a page to play on, with a live view. `k` kills a node: its rooms go on in the others.

    Ctrl-C ends it and leaves nothing behind.

    \b
    Examples:
      holdfast demo
      holdfast demo --players 100 --seconds 30 --kill-after 5
      holdfast demo --nodes 1 --tick-hz 60 -o match_s=30 -o map=1
    """
    failed, end = "", End()
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(Stop())
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-demo-")))
        keys = sys.stdin.isatty() and sys.stdout.isatty() and stack.enter_context(single_keys(sys.stdin.fileno()))
        server = stack.enter_context(server_process(settings, data, nodes, free_port(page)))
        import trio

        from bots.run import CannotRun
        from holdfast.demo.run import Told, run_demo
        from holdfast.logs import only_errors

        told = Told(
            server=server,
            data=data,
            nodes=nodes,
            players=players,
            seconds=seconds,
            kill_after_s=kill_after,
            keys=keys,
            show=has_desktop() if show is None else show,
        )
        try:
            with only_errors():
                trio.run(run_demo, told, end, stop)
        except* CannotRun as group:
            failed = str(_first(group))
    if end.unread:
        raise BrokenPipeError(errno.EPIPE, "nobody reads the output")
    if server.returncode == 2:  # the server refused what we were told to give it
        raise click.UsageError(failed.rpartition("holdfast serve: ")[2])
    if failed or end.errors:
        click.echo(f"holdfast demo: {failed or end.errors}", err=True)
    for line in filter(None, [*end.kills, f"{end.played} bots played" if end.played else "no bot played"]):
        click.echo(line)
    return 1 if failed or end.errors else 0


def has_desktop() -> bool:
    """Whether somebody sits in front of this machine's own screen."""
    if not sys.stdout.isatty() or "SSH_CONNECTION" in os.environ:
        return False
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


@attrs.define
class End:
    """What the last lines say, once the view is closed."""

    played: int = 0
    errors: str = ""
    kills: list[str] = attrs.field(factory=list)
    unread: bool = False
    """Nobody reads what is put out."""


class Stop:
    """SIGINT, SIGTERM and SIGHUP from the first line to the last. The first one ends the play, whenever it comes; what
    comes later changes nothing, so that the end is never left half done."""

    def __init__(self) -> None:
        self.asked = False
        self._does: Callable[[], None] = lambda: None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._come)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _come(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._does()

    def calls(self, does: Callable[[], None]) -> None:
        """What is done from now on, from within a signal handler; at once if it has come already."""
        self._does = does
        if self.asked:
            does()


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
