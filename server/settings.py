"""Every setting of a server, declared once.

`holdfast.options` makes the command's options, the `HOLDFAST_*` variables and the keys of the TOML file
from these fields, so a new setting is one field here and nothing anywhere else:

    field       option        variable              file
    tick_hz     --tick-hz 20  HOLDFAST_TICK_HZ=20   tick_hz = 20

A `Settings` that exists is valid: each field checks its type and limits and says in one line what it wants.
This file imports nothing but attrs, so that `--help` stays quick.
"""

# ruff: noqa: RUF009  (`setting` only declares a field; attrs copies its default)
from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

JOURNALS = ("process", "disk", "off")
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("auto", "console", "json")

Check = Callable[[Any], str | None]
"""Looks at a value and returns what is wanted instead of it, or None when it is good."""


class BadSetting(ValueError):
    """A value that a setting does not take. `name` is the field, `wanted` says what it takes."""

    def __init__(self, name: str, value: object, wanted: str) -> None:
        super().__init__(f"{name}: {value!r} is not {wanted}")
        self.name = name
        self.value = value
        self.wanted = wanted


def setting(default: Any, help: str, check: Check, **extra: Any) -> Any:
    """One field: default, line in `--help`, check; `metavar` and `shown` (the default in words)."""

    def validate(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        wanted = check(value)
        if wanted is not None:
            raise BadSetting(attribute.name, value, wanted)

    return attrs.field(default=default, validator=validate, metadata={"help": help, **extra})


def whole(low: int, high: int, *, optional: bool = False) -> Check:
    """Whole numbers from `low` to `high`, both included."""

    def check(value: object) -> str | None:
        good = type(value) is int and low <= value <= high
        return None if good or (optional and value is None) else f"a whole number from {low} to {high}"

    return check


def number(low: float, high: float) -> Check:
    """Finite numbers from `low` to `high`, both included."""

    def check(value: object) -> str | None:
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        good = good and math.isfinite(value) and low <= value <= high  # type: ignore[arg-type,operator]
        return None if good else f"a number from {low:g} to {high:g}"

    return check


def yes_no(value: object) -> str | None:
    """True or False."""
    return None if type(value) is bool else "true or false"


def choice(*choices: str) -> Check:
    """One word of a few."""
    return lambda value: None if value in choices else f"one of {', '.join(choices)}"


def text(wanted: str) -> Check:
    """Any text that is not empty and holds no line end or NUL."""

    def check(value: object) -> str | None:
        good = isinstance(value, str) and value.strip() != "" and not set("\0\r\n") & set(value)
        return None if good else wanted

    return check


def name(value: object) -> str | None:
    """A plain name, good for a file."""
    good = isinstance(value, str) and 0 < len(value) <= 32 and value.replace("-", "").isalnum() and value.isascii()
    return None if good else "a name of letters, digits and hyphens, at most 32"


def optional_text(value: object) -> str | None:
    """Any text without a line end or NUL."""
    return None if isinstance(value, str) and not set("\0\r\n") & set(value) else "text on one line"


def path(wanted: str, *, optional: bool = False) -> Check:
    """A path; whether it exists is found out by who opens it."""

    def check(value: object) -> str | None:
        good = isinstance(value, Path) and "\0" not in str(value)
        return None if good or (optional and value is None) else wanted

    return check


def pairs(value: object) -> str | None:
    """NAME → text, as `-o NAME=VALUE` gives."""
    good = isinstance(value, dict) and all(
        isinstance(key, str) and key.isidentifier() and isinstance(item, str) for key, item in value.items()
    )
    return None if good else "NAME=VALUE with a plain name"


@attrs.frozen(kw_only=True)
class Settings:
    """What one server process is told. Immutable; `attrs.evolve` makes a changed copy, checked again.

    Raises BadSetting for a value out of type or limits, or a certificate without its key.
    """

    host: str = setting(
        "127.0.0.1",
        "Address to listen on; 0.0.0.0 or :: for every interface.",
        text("an address such as 127.0.0.1 or 0.0.0.0"),
    )
    port: int = setting(
        7777,
        "TCP port of the control channel and UDP port of the realtime channel; 0 takes a free one.",
        whole(0, 65535),
    )
    data: Path = setting(
        Path("holdfast-data"),
        "Folder of all that is kept: rooms, sessions, profiles, keys; made when it is missing.",
        path("a folder"),
    )
    game: str = setting(
        "arena",
        "Game to play: a built-in one, or module:Class found from the working directory; several with commas between.",
        text("arena, whiteboard or module:Class"),
        metavar="arena|whiteboard|MODULE:CLASS",
    )
    tick_hz: int | None = setting(
        None,
        "Ticks a second; the game's own rate when not given.",
        whole(10, 128, optional=True),
        shown="the game's",
    )
    options: dict[str, str] = setting(
        attrs.Factory(dict),
        "Option of the game, such as -o match_s=10; may be repeated.",
        pairs,
        metavar="KEY=VALUE",
    )
    phases: int = setting(
        1,
        "Parts of a tick that the rooms are spread over: with more, frames leave sooner after their tick began, and "
        "each of them costs more.",
        whole(1, 16),
    )
    nodes: int = setting(
        1, "Node processes behind the port, looked after by a supervisor; 1: this very process.", whole(1, 64)
    )
    node: str = setting(
        "node",
        "Name of this node among those on the same data folder; with --nodes its number is put behind.",
        name,
    )
    advertise: str = setting(
        "",
        "Host by which clients reach this node when another sends them here; the one that they reached when not given.",
        optional_text,
        shown="the one they reached",
    )
    journal: str = setting(
        "process",
        "What a tick survives before anybody hears of it: a crash of the process, a power cut (disk), nothing (off).",
        choice(*JOURNALS),
        metavar="|".join(JOURNALS),
    )
    snapshot_s: float = setting(
        2.0, "Seconds between two snapshots of a room; few rooms are stored more often.", number(0.1, 3600)
    )
    keep_journals: bool = setting(
        False, "Whether journals are kept for ever, to look at a history afterwards.", yes_no, metavar="true|false"
    )
    rooms_max: int = setting(1000, "Rooms open at once; beyond that a new room is refused.", whole(1, 100_000))
    sessions_max: int = setting(10_000, "Players at once; beyond that a log-in is refused.", whole(1, 100_000))
    watchers_max: int = setting(
        256,
        "Watchers without a seat at once, at most 32 a room; beyond that one is refused; 0: none.",
        whole(0, 100_000),
    )
    hold_s: float = setting(30.0, "How long a seat is kept for a player who lost the connection.", number(0, 3600))
    idle_s: float = setting(10.0, "A player who is silent for so long is disconnected.", number(1, 3600))
    connects_per_s: float = setting(
        20.0,
        "New connections of one address a second; ten seconds' worth at once, beyond that they are closed.",
        number(0.1, 100_000),
        metavar="N",
    )
    connections_per_address: int = setting(
        200, "Connections of one address at once; beyond that a new one is closed.", whole(1, 1_000_000)
    )
    logins_per_s: float = setting(
        10.0,
        "Log-ins of one address a second (a new guest counts 5, a wrong secret 10); ten seconds' worth at once.",
        number(0.1, 100_000),
        metavar="N",
    )
    limit_loopback: bool = setting(
        False, "Whether the limits by address hold for this machine, too: true or false.", yes_no, metavar="true|false"
    )
    allow_origin: str = setting(
        "",
        "Origins of web pages that may play here, besides those of this host: https://a.example,https://b.example; "
        "* for all.",
        optional_text,
        shown="this host's",
    )
    plain_ws: bool = setting(
        False,
        "Whether WebSockets without TLS are taken from other machines, too: behind a proxy that does TLS.",
        yes_no,
        metavar="true|false",
    )
    tls_cert: Path | None = setting(
        None,
        "Certificate chain (PEM); a development certificate is made when not given.",
        path("a PEM file", optional=True),
        shown="development",
    )
    tls_key: Path | None = setting(
        None, "Private key (PEM) of the certificate.", path("a PEM file", optional=True), shown="development"
    )
    http_port: int = setting(
        0,
        "TCP port of pages, health, metrics and the API; 0 takes a free one (the log tells it), -1 opens none.",
        whole(-1, 65535),
        shown="a free one",
    )
    http_names: str = setting(
        "",
        "Names, with commas between, by which browsers reach HTTP, besides localhost, addresses and --advertise.",
        optional_text,
        shown="none",
    )
    http_token_file: Path | None = setting(
        None,
        "File with the token that the API takes; http.token in the data folder, made when missing, if not given.",
        path("a file with a token", optional=True),
        shown="http.token in the data folder",
    )
    http_kill: bool = setting(
        False,
        "Whether the API may kill nodes with SIGKILL, asked from this machine: for demonstrations.",
        yes_no,
        metavar="true|false",
    )
    log_level: str = setting("info", "Least weight of a log line.", choice(*LOG_LEVELS), metavar="|".join(LOG_LEVELS))
    log_format: str = setting(
        "auto",
        "Log for people or for machines; auto: by whether it is a terminal.",
        choice(*LOG_FORMATS),
        metavar="|".join(LOG_FORMATS),
    )

    def __attrs_post_init__(self) -> None:
        together = "a PEM file (a certificate and its key go together)"
        for name, here, other in (
            ("tls_key", self.tls_key, self.tls_cert),
            ("tls_cert", self.tls_cert, self.tls_key),
        ):
            if here is None and other is not None:
                raise BadSetting(name, here, together)
