"""The demo's life: everything that runs while it is there.

log ─► nodes serve ─► bots join ─► all play ─► … ─► seconds are over, q, Ctrl-C
          │                          └─ a kill by itself, once
          └─ look, four times a second ─► Picture, Kills ─► terminal, or lines
             keys, page ─► kill
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import webbrowser
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import trio

from bots.crew import Crew, Plan
from bots.run import CannotRun
from cluster.errors import ClusterError
from cluster.sqlite import SqliteStore
from holdfast.demo.act import Cluster
from holdfast.demo.keys import read_keys
from holdfast.demo.kills import Kill, Kills
from holdfast.demo.launch import listen, server_log, server_port
from holdfast.demo.picture import Picture
from holdfast.demo.view import draw, moved_line, status

if TYPE_CHECKING:
    from rich.live import Live

    from holdfast.demo import End, Stop

START_S = 30.0
LOOK_EVERY_S = 0.25
STATUS_EVERY_S = 1.0
FOREVER_S = 1e9
ROOMS_OF = 5
"""Players of a room with several nodes: rooms enough to see them move."""
LAST_KILLS = 5
"""Told one by one at the end, before all of them together."""


@attrs.frozen(kw_only=True)
class Told:
    """What a demo is told."""

    server: subprocess.Popen[bytes]
    data: Path
    nodes: int
    players: int
    seconds: float
    """0: until it is ended."""
    kill_after_s: float
    """0: nothing is killed by itself."""
    keys: bool
    """Whether the terminal gives single keys."""
    show: bool
    """Whether the page is opened in a browser."""


async def run_demo(told: Told, end: End, stop: Stop) -> None:
    """Run a demo until it is over, or is to stop. Raises CannotRun (in a group)."""
    demo, token = Demo(told, end), trio.lowlevel.current_trio_token()

    def soon() -> None:
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(demo.stop)

    stop.calls(soon)
    await demo.run()


class Demo:
    """One demo. `run` is its whole life."""

    def __init__(self, told: Told, end: End) -> None:
        self.told = told
        self.end = end
        self.picture = Picture(bots=told.players)
        self.kills = Kills()
        self.cluster = Cluster(self.picture, self.kills)
        self.crew: Crew | None = None
        self._killing = trio.Lock()
        self._scope = trio.CancelScope()
        self._terminal = sys.stdout.isatty()
        self._printed_at = 0.0

    async def run(self) -> None:
        """Show it, until it is over. Raises CannotRun."""
        with self._scope, self._shown() as show:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._look, show)
                    if self.told.keys:
                        nursery.start_soon(read_keys, sys.stdin.fileno(), partial(self._press, nursery))
                    await self._play(nursery)
                    nursery.cancel_scope.cancel()
            finally:
                self.kills.look(trio.current_time(), self.picture.rooms)
                self._count()
                show()

    def stop(self) -> None:
        """End it."""
        self._scope.cancel()

    async def _play(self, nursery: trio.Nursery) -> None:
        told = self.told
        log = server_log(told.server)
        try:
            with trio.fail_after(START_S):
                port = await server_port(log, told.nodes, self._hear)
        except trio.TooSlowError:
            raise CannotRun(f"the server did not start within {START_S:g} s") from None
        nursery.start_soon(listen, log, told.server, self._hear)
        self.picture.address = f"127.0.0.1:{port}"
        self._say(f"play and watch in a browser: {self.picture.page}")
        if self.told.show:
            nursery.start_soon(self._open_page)
        plan = Plan(server=self.picture.address, players=told.players, seconds=told.seconds or FOREVER_S)
        if told.nodes > 1:
            plan = attrs.evolve(plan, rooms_of=ROOMS_OF)
        async with SqliteStore.open(told.data / "cluster") as store:
            self.crew = self.cluster.crew = crew = Crew(plan, self.cluster.on_bot)
            self.cluster.store = store
            crew.go.set()
            nursery.start_soon(self.cluster.keep_asking)
            if told.nodes > 1 and told.kill_after_s > 0:
                nursery.start_soon(self._kill_by_itself, crew)
            tally = await crew.run()
            self.cluster.store = None
        if not crew.done.is_set():
            raise CannotRun(f"no bot could play: {', '.join(tally.examples.values()) or 'no reason known'}")
        self.end.played = told.players - tally.idle
        self.end.errors = "; ".join(f"{count} x {kind.replace('_', ' ')}" for kind, count in tally.errors.items())

    async def _open_page(self) -> None:
        await trio.to_thread.run_sync(webbrowser.open, self.picture.page, abandon_on_cancel=True)

    def _count(self) -> None:
        """For the last lines."""
        if self.crew is not None and not self.end.played:  # it was ended
            self.end.played = len(self.crew.playing)
        if self.told.nodes > 1 and self.end.played:
            self.end.kills = [*(kill.told() for kill in self.kills.all[-LAST_KILLS:]), self.kills.summary()]

    def _hear(self, entry: dict[str, Any]) -> None:
        before = {name: node.life for name, node in self.picture.nodes.items() if node.state == "alive"}
        self.picture.heard(entry, trio.current_time())
        if entry.get("event") == "node_died":
            self._say_kill(self.cluster.died(entry["node"], entry["incarnation"]))
        if entry.get("event") == ("nodes_started" if self.told.nodes > 1 else "node_started"):
            token = (self.told.data / "http.token").read_text(encoding="ascii").strip()
            self.picture.page = f"http://127.0.0.1:{entry['http_port']}/#token={token}"
        for name, node in self.picture.nodes.items():
            if node.state == "alive" and node.life > 1 and before.get(name) != node.life:
                self._say(f"{name} is alive again (life {node.life}, pid {node.pid})")

    # -- look ----------------------------------------------------------------------------------------------------------

    async def _look(self, show: Callable[[], None]) -> None:
        while True:
            if self.told.server.poll() is not None and self.cluster.store is not None:
                raise CannotRun(f"the server ended with code {self.told.server.returncode}")
            if self.cluster.store is not None:
                with contextlib.suppress(ClusterError):  # at the next look
                    news = await self.cluster.look()
                    for room in news.moved:
                        self._say(moved_line(room))
                    for kill in news.settled:
                        self._say(kill.told())
            show()
            await trio.sleep(LOOK_EVERY_S)

    @contextlib.contextmanager
    def _shown(self) -> Iterator[Callable[[], None]]:
        """Gives what shows the present state."""
        if self._terminal:
            from rich.live import Live

            live = Live(auto_refresh=False, screen=False, transient=False)
            self._out(live.start)
            try:
                yield partial(self._out, partial(self._draw, live))
            finally:
                self._out(live.stop)
        else:
            yield self._print_status

    def _out(self, put: Callable[[], None]) -> None:
        """Put something out. When nobody reads it any more, the demo is over."""
        try:
            put()
        except OSError:
            self.end.unread = True
            self.stop()

    def _draw(self, live: Live) -> None:
        size = live.console.size
        live.update(draw(self.picture, self.kills, trio.current_time(), size.width, size.height), refresh=True)

    def _say(self, line: str) -> None:
        """A line, where there is no drawing that shows it."""
        if not self._terminal:
            self._out(partial(print, line, flush=True))

    def _print_status(self) -> None:
        crew, now = self.crew, trio.current_time()
        playing = crew is not None and self.picture.playing and not crew.done.is_set()
        if playing and now - self._printed_at >= STATUS_EVERY_S * 0.9:
            self._printed_at = now
            self._say(status(self.picture))

    # -- kill ----------------------------------------------------------------------------------------------------------

    def _press(self, nursery: trio.Nursery, key: str) -> None:
        names = [node.name for node in self.picture.in_order()]
        if key in "qQ":
            self.stop()
        elif len(names) > 1 and key in "kK":
            nursery.start_soon(self._kill, "")
        elif len(names) > 1 and key in "123456789" and int(key) <= len(names):
            nursery.start_soon(self._kill, names[int(key) - 1])

    async def _kill_by_itself(self, crew: Crew) -> None:
        await crew.ready.wait()
        self.picture.kill_at = trio.current_time() + self.told.kill_after_s
        await trio.sleep(self.told.kill_after_s)
        while not self.picture.whole:  # noqa: ASYNC110 - it is looked at now and then
            await trio.sleep(LOOK_EVERY_S)
        self.picture.kill_at = None
        await self._kill("")

    async def _kill(self, name: str) -> None:
        async with self._killing:
            with contextlib.suppress(ClusterError):
                self._say_kill(await self.cluster.kill(name))

    def _say_kill(self, kill: Kill | None) -> None:
        if kill is not None:
            self._say(kill.struck())
