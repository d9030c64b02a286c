"""Where settings come from: the order of the sources, and what each of them refuses."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import attrs
import click
import pytest
from click.testing import CliRunner

from holdfast.config import render
from holdfast.options import load, read_file, settings_options, strangers
from server.settings import Settings


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text: str, name: str = "holdfast.toml") -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def refused(given: dict[str, Any], environ: dict[str, str] | None = None, config: Path | None = None) -> str:
    """The one line that a user sees."""
    with pytest.raises(click.UsageError) as caught:
        load(given, config, environ or {})
    message = caught.value.format_message()
    assert "\n" not in message
    assert caught.value.exit_code == 2
    return message


def test_nothing_given_is_the_defaults() -> None:
    loaded = load({}, environ={})
    assert loaded.settings == Settings()
    assert set(loaded.origins.values()) == {"default"}


def test_option_beats_variable_beats_file_beats_default() -> None:
    write("port = 1\ntick_hz = 11\nphases = 3\n")
    loaded = load({"port": "3"}, environ={"HOLDFAST_PORT": "2", "HOLDFAST_TICK_HZ": "22"})
    settings = loaded.settings
    assert (settings.port, settings.tick_hz, settings.phases, settings.rooms_max) == (3, 22, 3, 1000)
    assert [loaded.origins[name] for name in ("port", "tick_hz", "phases", "rooms_max")] == [
        "--port",
        "HOLDFAST_TICK_HZ",
        "holdfast.toml",
        "default",
    ]


def test_every_setting_can_come_from_each_source() -> None:
    texts = {
        field.name: {"int": "16", "int | None": "16", "float": "16.0", "bool": "true"}.get(
            str(field.type),
            {"log_level": "debug", "log_format": "json", "journal": "disk"}.get(field.name, "x"),
        )
        for field in attrs.fields(Settings)
        if field.name != "options"
    }
    by_option = load(texts, environ={}).settings
    by_variable = load({}, environ={f"HOLDFAST_{name.upper()}": text for name, text in texts.items()}).settings
    write("\n".join(f"{k} = {v if v[0] == '1' or v == 'true' else repr(v)}" for k, v in texts.items()))
    assert by_option == by_variable == load({}, environ={}).settings
    assert by_option.tick_hz == 16
    assert by_option.tls_key == Path("x")


def test_game_options_are_merged_one_by_one() -> None:
    write('[options]\nmatch_s = 10\nseats = 4\nfriendly = true\nmap = "a b"\n')
    loaded = load({"options": ("seats=6", "name=a=b")}, environ={"HOLDFAST_OPTIONS": "match_s=20 title='x y'"})
    assert loaded.settings.options == {
        "match_s": "20",
        "seats": "6",
        "friendly": "true",
        "map": "a b",
        "title": "x y",
        "name": "a=b",
    }
    assert loaded.origins["options.match_s"] == "HOLDFAST_OPTIONS"
    assert loaded.origins["options.seats"] == "-o"
    assert loaded.origins["options.map"] == "holdfast.toml"


def test_paths_of_a_file_count_from_its_folder_and_others_from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    file = write('data = "store"\ntls_cert = "/etc/c.pem"\ntls_key = "~/k.pem"\n', "conf/my.toml")
    monkeypatch.setenv("HOME", "/home/ann")
    settings = load({}, file, {}).settings
    assert settings.data == Path("conf/store")
    assert (settings.tls_cert, settings.tls_key) == (Path("/etc/c.pem"), Path("/home/ann/k.pem"))
    assert load({"data": "store"}, file, {}).settings.data == Path("store")


def test_the_file_can_be_named_by_a_variable() -> None:
    write("port = 5\n", "other.toml")
    assert load({}, environ={"HOLDFAST_CONFIG": "other.toml"}).settings.port == 5


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load({}, environ={"HOLDFAST_PORT": "", "HOLDFAST_CONFIG": ""}).settings.port == 7777


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"port": "http"}, "--port: 'http' is not a whole number from 0 to 65535"),
        ({"port": "7777.5"}, "--port: '7777.5' is not a whole number from 0 to 65535"),
        ({"host": ""}, "--host: '' is not an address such as 127.0.0.1 or 0.0.0.0"),
        ({"tick_hz": "500"}, "--tick-hz: '500' is not a whole number from 10 to 128"),
        ({"idle_s": "nan"}, "--idle-s: 'nan' is not a number from 1 to 3600"),
        ({"log_level": "loud"}, "--log-level: 'loud' is not one of debug, info, warning, error"),
        ({"options": ("match_s",)}, "-o: 'match_s' is not KEY=VALUE; an example: -o match_s=10"),
        ({"options": ("=1",)}, "-o: '=1' is not KEY=VALUE; an example: -o match_s=10"),
        ({"tls_cert": "c.pem"}, "--tls-key is missing: a PEM file (a certificate and its key go together)"),
    ],
)
def test_a_bad_option_is_one_line(given: dict[str, Any], message: str) -> None:
    assert refused(given) == message


def test_a_bad_variable_is_named() -> None:
    assert refused({}, {"HOLDFAST_PORT": "tcp://1:2"}).startswith("HOLDFAST_PORT: 'tcp://1:2' is not a whole")
    assert refused({}, {"HOLDFAST_OPTIONS": "a='"}).startswith("HOLDFAST_OPTIONS:")


def test_a_bad_value_is_refused_even_where_a_better_source_hides_it() -> None:
    write("port = 70000\n")
    assert refused({"port": "1"}).startswith("holdfast.toml: port: 70000 is not")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 1\n", "holdfast.toml: unknown key 'prot'; did you mean 'port'?"),
        ("tick-hz = 20\n", "holdfast.toml: unknown key 'tick-hz'; did you mean 'tick_hz'?"),
        ("xyzzy = 1\n", "holdfast.toml: unknown key 'xyzzy'; there are: host, port"),
        ("port = \n", "holdfast.toml: no valid TOML: "),
        ('port = "x"\n', "holdfast.toml: port: 'x' is not a whole number"),
        ("port = 1.5\n", "holdfast.toml: port: 1.5 is not a whole number"),
        ("port = [1]\n", "holdfast.toml: port: [1] is not a whole number"),
        ("host = 1\n", "holdfast.toml: host: 1 is not an address"),
        ("data = 1\n", "holdfast.toml: data: 1 is not a folder"),
        ("[port]\nx = 1\n", "holdfast.toml: port: {'x': 1} is not a whole number"),
        ("options = 5\n", "holdfast.toml: options: 5 is not KEY=VALUE"),
        ("[options]\nseats = [1]\n", "holdfast.toml: options.seats: a text or a number is wanted"),
        ("[options]\n'a b' = 1\n", "holdfast.toml: options: {'a b': 1} is not NAME=VALUE"),
    ],
)
def test_a_bad_file_is_one_line(text: str, message: str) -> None:
    write(text)
    assert refused({}).startswith(message)


def test_a_file_that_cannot_be_read_is_one_line(here: Path) -> None:
    assert refused({}, config=Path("none.toml")) == "none.toml: cannot read it: No such file or directory"
    assert "cannot read it: Is a directory" in refused({}, config=here)
    Path("bytes.toml").write_bytes(b"\xff\xfe")
    assert refused({}, config=Path("bytes.toml")).startswith("bytes.toml: no valid TOML")


def test_a_strange_variable_is_pointed_out() -> None:
    lines = strangers({"HOLDFAST_PROT": "1", "HOLDFAST_PORT": "1", "HOLDFAST_CONFIG": "x", "OTHER": "1"})
    assert lines == ["HOLDFAST_PROT is no setting; did you mean 'HOLDFAST_PORT'?"]


def test_a_command_gets_settings_and_its_own_options() -> None:
    got: list[tuple[Settings, int]] = []

    @click.command()
    @click.option("--players", type=int, default=40)
    @settings_options("port", "options")
    def demo(settings: Settings, players: int) -> None:
        """Demonstrate."""
        got.append((settings, players))

    run = CliRunner().invoke(demo, ["--port", "0", "-o", "seats=4", "--players", "7"], env={"HOLDFAST_PHASES": "4"})
    assert run.exit_code == 0, run.output
    assert got == [(Settings(port=0, options={"seats": "4"}, phases=4), 7)]
    usage = CliRunner().invoke(demo, ["--help"]).output
    assert "Demonstrate." in usage
    assert "--tick-hz" not in usage
    assert CliRunner().invoke(demo, ["--port", "x"]).exit_code == 2


def test_what_config_prints_gives_the_same_settings_again() -> None:
    first = load({"port": "1", "data": 'a "b"', "options": ("seats=4",), "idle_s": "2"}, environ={})
    text = render(first)
    assert "# --port" in text
    assert "# tick_hz is not set" in text
    assert tomllib.loads(text)["options"] == {"seats": "4"}
    assert load({}, write(text), {}).settings == first.settings
    assert read_file(Path("holdfast.toml"))["port"] == 1


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("On", True), ("1", True), ("false", False), ("no", False)]
)
def test_a_switch_is_a_word(text: str, value: bool) -> None:
    assert load({"limit_loopback": text}, environ={}).settings.limit_loopback is value
    assert load({}, environ={"HOLDFAST_LIMIT_LOOPBACK": text}).settings.limit_loopback is value


def test_a_switch_in_the_file_and_one_that_is_none() -> None:
    write("limit_loopback = true\nlogins_per_s = 5\n")
    loaded = load({}, environ={})
    assert (loaded.settings.limit_loopback, loaded.settings.logins_per_s) == (True, 5.0)
    assert "limit_loopback = true" in render(loaded)
    assert refused({"limit_loopback": "perhaps"}) == "--limit-loopback: 'perhaps' is not true or false"
