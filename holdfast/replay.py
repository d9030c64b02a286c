"""`holdfast replay FILE`: make a room that failed fail again, on the desk of whoever wrote its game.

The file is what the server kept when it closed the room (`game.evidence`). Nothing else is needed but the game itself:
the exit code is 0 when the same kind of exception comes again, 1 when it does not, 2 when it cannot be tried.
"""

from __future__ import annotations

import re
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from holdfast.games import load_game

LIMIT_S = 5.0
"""A game that hung on the server hangs here, too: for so long."""


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--game", "spec", metavar="MODULE:CLASS", help="The game, when it is not where the file says.")
@click.option("--force", is_flag=True, help="Try although the game's code or options have changed, to test a mend.")
def replay(file: Path, spec: str | None, force: bool) -> int:
    """Make a failed room fail again.

    The server keeps a file of each room whose game raised, and its log names it. Run this where the game's module is:
    the room is loaded and makes the one step, or the one call, that raised.

    \b
    Exit code: 0 reproduced, 1 not reproduced, 2 it could not be tried.
    """
    from game.errors import BadEvidence, BadRoomData
    from game.evidence import reproduce, unpack_evidence

    try:
        evidence = unpack_evidence(file.read_bytes())
    except OSError as error:
        raise click.UsageError(f"{file}: {error.strerror or error}") from error
    except BadEvidence as error:
        raise click.UsageError(f"{file}: {error}") from error
    called = "its step" if evidence.command is None else f"the command {type(evidence.command).__name__}"
    options = "".join(f" -o {name}={value}" for name, value in sorted(evidence.options.items()))
    click.echo(f"room     {evidence.room}, tick {evidence.tick}, in {called}")
    click.echo(f"game     {evidence.spec} ({evidence.game} {evidence.version}) --tick-hz {evidence.tick_hz}{options}")
    click.echo(f"kept     {evidence.kind}: {evidence.message}")
    try:
        game = load_game(spec or evidence.spec)(evidence.options, evidence.tick_hz)
        with time_limit():
            raised = reproduce(game, evidence, force)
    except BadRoomData as problem:
        click.echo(evidence.traceback, nl=False)
        hint = "" if force else " (--force tries all the same)"
        raise click.UsageError(f"{problem}{hint}") from problem
    except click.ClickException:
        raise
    except Exception as problem:
        raise click.UsageError(f"the game cannot be made as it was: {type(problem).__name__}: {problem}") from problem
    if raised is None:
        click.echo("not reproduced: no exception any more")
        return 1
    click.echo("".join(traceback.format_exception(raised)), nl=False)
    if (type(raised).__name__, _without_addresses(str(raised))) != (
        evidence.kind,
        _without_addresses(evidence.message),
    ):
        click.echo("not reproduced: another exception")
        return 1
    click.echo("reproduced: the same exception")
    return 0


@contextmanager
def time_limit() -> Iterator[None]:
    """Raises StepOverran in the block when it takes too long."""
    from game.errors import StepOverran

    def overrun(_number: int, _frame: FrameType | None) -> None:
        raise StepOverran

    before = signal.signal(signal.SIGALRM, overrun)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _without_addresses(message: str) -> str:
    return re.sub(r"0x[0-9a-f]+", "0x", message)
