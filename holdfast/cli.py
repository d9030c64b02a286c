"""The command `holdfast`: a table of subcommands, each loaded when it is called.

`holdfast --help` and `--version` load nothing but click: the table holds the help lines, and a command
whose module is missing is still listed and says so when it is called. Every error that a user can cause is
one line on stderr that names the remedy, exit code 2 for misuse; a traceback is always a fault of ours.

A command is a click command; what it returns, when it is a whole number, is the exit code.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

import click

from holdfast import __version__

COMMANDS: dict[str, tuple[str, str]] = {
    "serve": ("holdfast.serve:serve", "Run a game server."),
    "bots": ("holdfast.bots:bots", "Let bots play on a running server, and report how it did."),
    "demo": ("holdfast.demo:demo", "Nodes and bots in one terminal; a key kills a node."),
    "chaos": ("holdfast.chaos:chaos", "Break a cluster while bots play on it, and check its history."),
    "admin": ("holdfast.admin:admin", "Tell a running server something: drain a node."),
    "bench": ("holdfast.bench:bench", "Measure what a part of the server costs."),
    "config": ("holdfast.config:config", "Show the settings in force and where each comes from."),
    "replay": ("holdfast.replay:replay", "Make a room that failed fail again, from the file that was kept of it."),
}
"""Name → where it is (module:attribute) and its line in `--help`."""


class LazyGroup(click.Group):
    """A click group over `COMMANDS` that imports a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        try:
            command: click.Command = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            raise click.UsageError(f"{cmd_name!r} is not part of this version ({__version__})") from None
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            close = get_close_matches(name, COMMANDS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(COMMANDS)}"
            raise click.UsageError(f"no command {name!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="holdfast", message="%(prog)s %(version)s")
def cli() -> None:
    """A multiplayer game server: authoritative rooms, encrypted UDP, persistent profiles.

    \b
    Examples:
      holdfast demo                                   three nodes and 40 bots; k kills a node
      holdfast serve --port 7777 -o match_s=120       a server
      holdfast bots --players 200 --seconds 25        200 bots on it, and a report
    """


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 good, 1 failed, 2 misuse, 130 interrupted."""
    try:
        result = cli.main(args=args, prog_name="holdfast", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "holdfast"
        click.echo(f"{command}: {' '.join(error.format_message().split())}", err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is None:
            raise
        return 130
    except OSError as error:
        if error.errno != errno.EPIPE:
            raise
        # Who read our output has gone (`| head`); nothing may be written at exit any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return result if isinstance(result, int) and not isinstance(result, bool) else 0
