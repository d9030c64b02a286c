"""`holdfast config`: the settings in force, as a TOML file that says where each value comes from.

What it prints can be saved as a file for `--config` and gives the same settings again.
"""

from __future__ import annotations

import json
import os

import attrs
import click

from holdfast.options import Loaded, loaded_options, strangers


@click.command()
@loaded_options
def config(loaded: Loaded) -> None:
    """Show the settings in force and where each comes from.

    \b
    Examples:
      holdfast config                              what `holdfast serve` would take here
      holdfast config --port 8000 > server.toml    make a file of it, for serve --config server.toml
    """
    click.echo(render(loaded))
    for line in strangers(os.environ):
        click.echo(f"holdfast config: {line}", err=True)


def render(loaded: Loaded) -> str:
    """The settings as TOML, each with its origin as a comment; what is not set is only a comment."""
    rows = [(f"{key} = {_toml(value)}", loaded.origins[key]) for key, value in _flat(loaded) if value is not None]
    unset = [f"# {key} is not set" for key, value in _flat(loaded) if value is None]
    options = [
        (f"{key} = {json.dumps(text)}", loaded.origins[f"options.{key}"])
        for key, text in loaded.settings.options.items()
    ]
    width = max(len(row) for row, _ in rows + options)
    lines = [f"{row:<{width}}  # {origin}" for row, origin in rows] + unset
    if options:
        lines += ["", "[options]", *(f"{row:<{width}}  # {origin}" for row, origin in options)]
    return "\n".join(lines)


def _flat(loaded: Loaded) -> list[tuple[str, object]]:
    return [
        (field.name, getattr(loaded.settings, field.name))
        for field in attrs.fields(type(loaded.settings))
        if field.name != "options"
    ]


def _toml(value: object) -> str:
    return json.dumps(value if isinstance(value, (int, float)) else str(value))
