"""Settings are valid or do not exist; the message names the field and what it takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.settings import BadSetting, Settings


def test_the_defaults_are_those_of_the_manual() -> None:
    settings = Settings()
    assert (settings.host, settings.port, settings.data) == ("127.0.0.1", 7777, Path("holdfast-data"))
    assert (settings.game, settings.tick_hz, settings.options) == ("arena", None, {})


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("host", "", "an address such as"),
        ("host", "a\nb", "an address such as"),
        ("port", 65536, "a whole number from 0 to 65535"),
        ("port", -1, "a whole number from 0 to 65535"),
        ("port", "7777", "a whole number from 0 to 65535"),
        ("port", True, "a whole number from 0 to 65535"),
        ("data", "folder", "a folder"),
        ("game", " ", "arena, whiteboard or module:Class"),
        ("tick_hz", 9, "a whole number from 10 to 128"),
        ("tick_hz", 129, "a whole number from 10 to 128"),
        ("options", {"a b": "1"}, "NAME=VALUE"),
        ("options", {"a": 1}, "NAME=VALUE"),
        ("phases", 0, "a whole number from 1 to 16"),
        ("hold_s", float("nan"), "a number from 0 to 3600"),
        ("idle_s", float("inf"), "a number from 1 to 3600"),
        ("idle_s", "10", "a number from 1 to 3600"),
        ("connects_per_s", 0, "a number from 0.1 to 100000"),
        ("logins_per_s", float("inf"), "a number from 0.1 to 100000"),
        ("connections_per_address", 0, "a whole number from 1 to 1000000"),
        ("limit_loopback", "true", "true or false"),
        ("limit_loopback", 1, "true or false"),
        ("tls_cert", "cert.pem", "a PEM file"),
        ("log_level", "loud", "one of debug, info, warning, error"),
        ("log_format", None, "one of auto, console, json"),
    ],
)
def test_a_bad_value_is_refused_in_one_line(name: str, value: Any, wanted: str) -> None:
    with pytest.raises(BadSetting) as caught:
        Settings(**{name: value})
    assert caught.value.name == name
    assert wanted in str(caught.value)
    assert str(caught.value).startswith(f"{name}: {value!r} is not ")


@given(st.integers(10, 128), st.integers(0, 65535), st.floats(1, 3600))
def test_values_within_the_limits_are_taken(tick_hz: int, port: int, idle_s: float) -> None:
    settings = Settings(tick_hz=tick_hz, port=port, idle_s=idle_s)
    assert (settings.tick_hz, settings.port, settings.idle_s) == (tick_hz, port, idle_s)


def test_a_certificate_and_its_key_go_together() -> None:
    with pytest.raises(BadSetting, match=r"tls_key: None is not a PEM file .*go together"):
        Settings(tls_cert=Path("cert.pem"))
    with pytest.raises(BadSetting, match=r"tls_cert: None is not a PEM file .*go together"):
        Settings(tls_key=Path("key.pem"))
    assert Settings(tls_cert=Path("cert.pem"), tls_key=Path("key.pem")).tls_key == Path("key.pem")


def test_a_changed_copy_is_checked_again_and_the_first_stays() -> None:
    settings = Settings()
    assert attrs.evolve(settings, port=1).port == 1
    assert settings.port == 7777
    with pytest.raises(BadSetting):
        attrs.evolve(settings, port=70_000)


def test_two_settings_do_not_share_their_options() -> None:
    assert Settings().options is not Settings().options


def test_every_field_has_a_line_of_help() -> None:
    assert all(field.metadata["help"].endswith(".") for field in attrs.fields(Settings))


def test_loading_the_settings_loads_nothing_heavy() -> None:
    code = "import sys, server.settings; print(sorted({'trio', 'numpy', 'click', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
