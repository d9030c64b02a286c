"""Where the settings come from: option > `HOLDFAST_*` variable > TOML file > default.

Each field of `Settings` is told apart by its name alone (`tick_hz`, `--tick-hz`, `HOLDFAST_TICK_HZ`). The
file is `--config FILE`, or HOLDFAST_CONFIG, or ./holdfast.toml when there is one; paths in it are relative
to its folder. An empty variable counts as not set. Game options are merged one by one: `-o seats=4` leaves
the file's `match_s` alone.

Whatever is wrong ends in one line that names the place it came from, exit code 2.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click

from server.settings import BadSetting, Settings

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_FILE = Path("holdfast.toml")
_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
FIELDS: dict[str, attrs.Attribute[Any]] = {field.name: field for field in attrs.fields(Settings)}


@attrs.frozen
class Loaded:
    """Valid settings, and for each field (`options.KEY` for a game option) where it came from."""

    settings: Settings
    origins: dict[str, str]


def settings_options(*names: str) -> Callable[[Command], Command]:
    """Decorator: gives a click command the options of these settings (none named: all) and `--config`.

    The command is called with `settings=Settings(...)`. Variables and the file count for every field, named
    or not::

        @click.command()
        @settings_options("game", "tick_hz", "options")
        def demo(settings: Settings) -> None: ...
    """

    def decorate(command: Command) -> Command:
        return _with_options(command, names, lambda loaded: {"settings": loaded.settings})

    return decorate


def loaded_options(command: Command) -> Command:
    """Like `settings_options()`, but the command is called with `loaded=Loaded(...)`."""
    return _with_options(command, (), lambda loaded: {"loaded": loaded})


def _with_options(
    command: Command, names: tuple[str, ...], arguments: Callable[[Loaded], dict[str, object]]
) -> Command:
    chosen = [FIELDS[name] for name in names] if names else list(FIELDS.values())

    def wrapped(config: Path | None, **given: Any) -> Any:
        own = {field.name: given.pop(f"settings_{field.name}") for field in chosen}
        return command(**arguments(load(own, config)), **given)

    wrapped.__name__ = command.__name__
    wrapped.__doc__ = command.__doc__
    wrapped.__click_params__ = list(getattr(command, "__click_params__", []))  # type: ignore[attr-defined]
    file_help = "TOML file with settings; by default ./holdfast.toml when there is one."
    wrapped = click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help=file_help)(wrapped)
    for field in reversed(chosen):
        wrapped = _option(field)(wrapped)
    return wrapped  # type: ignore[return-value]


def _option(field: attrs.Attribute[Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    meta = field.metadata
    name = f"settings_{field.name}"
    metavar = meta.get("metavar") or _metavar(field)
    if field.name == "options":
        return click.option("-o", name, multiple=True, metavar=metavar, help=meta["help"])
    shown = f"{meta['help']}  [default: {meta.get('shown', field.default)}]"
    return click.option(flag(field.name), name, metavar=metavar, help=shown)


def flag(name: str) -> str:
    """The option of a setting: tick_hz → --tick-hz."""
    return "-o" if name == "options" else "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """The environment variable of a setting: tick_hz → HOLDFAST_TICK_HZ."""
    return "HOLDFAST_" + name.upper()


def load(
    given: Mapping[str, str | tuple[str, ...] | None],
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Loaded:
    """The settings in force; `given` are the texts of options by field name (None or () = not given).

    Raises click.UsageError (one line, exit 2) for anything that is wrong in any of the sources.
    """
    environ = os.environ if environ is None else environ
    file = config or (Path(environ["HOLDFAST_CONFIG"]).expanduser() if environ.get("HOLDFAST_CONFIG") else None)
    if file is None and DEFAULT_FILE.exists():
        file = DEFAULT_FILE
    values: dict[str, Any] = {}
    origins = dict.fromkeys(FIELDS, "default")
    del origins["options"]
    layers: list[tuple[dict[str, Any], Callable[[str], str]]] = []
    if file is not None:
        layers.append((read_file(file), lambda name: f"{file}: {name}"))
    layers.append(({n: environ[variable(n)] for n in FIELDS if environ.get(variable(n))}, variable))
    layers.append(({n: text for n, text in given.items() if text not in (None, ())}, flag))
    for layer, place in layers:
        for name, raw in layer.items():
            where = place(name)
            value = _parse(name, raw, where)
            if name == "options":
                values["options"] = {**values.get("options", {}), **value}
                origins.update({f"options.{key}": where.removesuffix(": options") for key in value})
            else:
                values[name] = value
                origins[name] = where.removesuffix(f": {name}")
            _check(name, values[name], where, raw)
    try:
        return Loaded(Settings(**values), origins)
    except BadSetting as error:
        raise click.UsageError(f"{flag(error.name)} is missing: {error.wanted}") from None


def read_file(file: Path) -> dict[str, Any]:
    """The keys of a settings file, names checked; paths come back relative to the file's folder."""
    import tomllib

    try:
        with file.open("rb") as stream:
            found = tomllib.load(stream)
    except OSError as error:
        raise click.UsageError(f"{file}: cannot read it: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{file}: no valid TOML: {' '.join(str(error).split())}") from None
    for name in found:
        if name not in FIELDS:
            raise click.UsageError(f"{file}: unknown key {name!r}{did_you_mean(name, FIELDS)}")
    for name in ("data", "tls_cert", "tls_key"):
        if isinstance(found.get(name), str):
            found[name] = str(file.parent / Path(found[name]).expanduser())
    return found


def did_you_mean(name: str, known: Mapping[str, object]) -> str:
    """'; did you mean …?' with the closest name, or the list of names when nothing is close."""
    from difflib import get_close_matches

    by_lower = {each.lower(): each for each in known}
    close = get_close_matches(name.lower().replace("-", "_"), by_lower, n=1)
    return f"; did you mean {by_lower[close[0]]!r}?" if close else f"; there are: {', '.join(known)}"


def strangers(environ: Mapping[str, str]) -> list[str]:
    """One line for each HOLDFAST_* variable that is no setting, for people to see; it is ignored."""
    known = {variable(name): None for name in FIELDS} | {"HOLDFAST_CONFIG": None}
    return [
        f"{name} is no setting{did_you_mean(name, known)}"
        for name in sorted(environ)
        if name.startswith("HOLDFAST_") and name not in known
    ]


def _parse(name: str, raw: Any, where: str) -> Any:
    """The typed value of a text or of what TOML holds; what is no such thing comes back as it is."""
    if name == "options":
        return _parse_pairs(raw, where)
    kind = str(FIELDS[name].type)
    if not isinstance(raw, str):
        return float(raw) if kind == "float" and type(raw) is int else raw
    if kind.startswith("Path"):
        return Path(raw).expanduser()
    if kind == "bool":
        return _WORDS.get(raw.lower(), raw)
    try:
        return int(raw) if kind.startswith("int") else float(raw) if kind.startswith("float") else raw
    except ValueError:
        return raw


def _parse_pairs(raw: Any, where: str) -> dict[str, str]:
    """Game options: the texts of -o, the words of HOLDFAST_OPTIONS, or the file's [options] table."""
    if isinstance(raw, dict):
        for key, value in raw.items():
            if not isinstance(value, (str, int, float)):
                raise click.UsageError(f"{where}.{key}: a text or a number is wanted")
        return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in raw.items()}
    try:
        words = shlex.split(raw) if isinstance(raw, str) else list(raw)
    except (ValueError, TypeError) as error:
        raise click.UsageError(f"{where}: {raw!r} is not KEY=VALUE KEY=VALUE …: {error}") from None
    result = {}
    for word in words:
        key, sign, value = str(word).partition("=")
        if not sign or not key.isidentifier():
            raise click.UsageError(f"{where}: {word!r} is not KEY=VALUE; an example: -o match_s=10")
        result[key] = value
    return result


def _check(name: str, value: Any, where: str, raw: Any) -> None:
    """Let the field judge its value, so that the message can name the place it came from."""
    field = FIELDS[name]
    try:
        if field.validator is not None:
            field.validator(None, field, value)
    except BadSetting as error:
        raise click.UsageError(f"{where}: {raw!r} is not {error.wanted}") from None


def _metavar(field: attrs.Attribute[Any]) -> str:
    kind = str(field.type)
    words = {"int": "N", "float": "SECONDS", "Path": "PATH"}
    return next((word for start, word in words.items() if kind.startswith(start)), "TEXT")
