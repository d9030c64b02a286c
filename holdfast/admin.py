"""`holdfast admin`: what an operator tells a running server."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from cluster.model import Member

DRAIN_S = 60.0
LOOK_EVERY_S = 0.1


@click.group()
def admin() -> None:
    """Tell a running server of this machine something."""


@admin.command(short_help="Let a node give its rooms to the others and end.")
@click.argument("node")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path("holdfast-data"),
    show_default=True,
    help="Data folder of the server.",
)
def drain(node: str, data: Path) -> int:
    """Let NODE give its rooms to the other nodes and end; a supervisor starts it anew.

    \b
    Example:
      holdfast admin drain node-2
    """
    import trio

    failed = trio.run(_drain, node, data)
    if failed:
        raise click.UsageError(failed)
    click.echo(f"{node} has given its rooms away")
    return 0


async def _drain(node: str, data: Path) -> str:
    """What went wrong; "" when nothing did."""
    import trio

    from cluster.errors import StoreUnusable
    from cluster.sqlite import SqliteStore

    if not (data / "cluster").is_dir():
        return f"{data} is not the data folder of a server that keeps a journal; give its folder with --data"
    try:
        async with SqliteStore.open(data / "cluster") as store:
            alive = [m for m in await store.journals.members() if not m.sealed and store.alive(m.incarnation)]
            found: Member | None = next((member for member in alive if member.node == node), None)
            if found is None:
                names = ", ".join(sorted(member.node for member in alive)) or "none"
                return f"no node {node!r} runs on {data}; there are: {names}"
            os.kill(found.pid, signal.SIGTERM)
            with trio.move_on_after(DRAIN_S):
                while store.alive(found.incarnation):  # noqa: ASYNC110 - another process
                    await trio.sleep(LOOK_EVERY_S)
                left = len(await store.rooms.owned_by(found.incarnation))
                return (
                    f"{left} room{'s' * (left > 1)} found no other node, and will go on when one starts" if left else ""
                )
    except StoreUnusable as error:
        return str(error)
    return f"{node} did not end within {DRAIN_S:g} s"
