"""The command line: quick, lazy, and one line for whatever the user got wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from holdfast import __version__, cli
from holdfast.cli import COMMANDS, main

HEAVY = {"trio", "numpy", "rich", "msgpack", "cryptography", "sqlalchemy", "alembic", "structlog", "tomllib"}


def run(*args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "holdfast", *args], capture_output=True, text=True, check=False, cwd=cwd
    )


def test_version_and_help_load_nothing_heavy() -> None:
    code = (
        "import sys; from holdfast.cli import main\n"
        "assert main(['--version']) == 0 and main(['--help']) == 0\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"holdfast {__version__}\n")
    assert done.stdout.endswith("\n[]\n")


def test_help_lists_every_command_even_those_that_are_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)
    assert "Examples:" in shown


def test_a_missing_command_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(COMMANDS, "absent", ("holdfast.not_there:x", "Not there."))
    assert main(["absent"]) == 2
    assert capsys.readouterr().err == f"holdfast: 'absent' is not part of this version ({__version__})\n"


def test_a_command_whose_own_import_fails_is_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "absent", ("not_there_at_all.x:x", "Not there."))
    with pytest.raises(ModuleNotFoundError):
        main(["absent"])


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["serv"], "holdfast: no command 'serv'; did you mean 'serve'?"),
        (["xyzzy"], "holdfast: no command 'xyzzy'; there are: serve, bots, demo, chaos, admin, bench"),
        (["--prot"], "holdfast: No such option"),
        (["config", "--prot", "1"], "holdfast config: No such option '--prot'. (Did you mean one of: "),
        (["config", "--port", "x"], "holdfast config: --port: 'x' is not a whole number from 0 to 65535"),
        (["config", "--port"], "holdfast: Option '--port' requires an argument."),
        (["config", "extra"], "holdfast config: Got unexpected extra argument"),
    ],
)
def test_misuse_is_one_line_and_exit_2(args: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(line)
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (None, 0),
        (1, 1),
        (0, 0),
        (True, 0),
        (click.ClickException("no"), 1),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
    ],
)
def test_exit_codes(monkeypatch: pytest.MonkeyPatch, outcome: object, code: int) -> None:
    @click.command()
    def probe() -> object:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(cli, "probe", probe, raising=False)
    monkeypatch.setitem(COMMANDS, "probe", ("holdfast.cli:probe", "Probe."))
    assert main(["probe"]) == code


def test_python_m_holdfast_is_the_command(tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").write_text("port = 5\nprot = 6\n")
    root = Path(cli.__file__).resolve().parent.parent
    done = run("--version", cwd=root)
    assert (done.returncode, done.stdout) == (0, f"holdfast {__version__}\n")
    done = run("config", "--config", str(tmp_path / "holdfast.toml"), cwd=root)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("unknown key 'prot'; did you mean 'port'?\n")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    root = Path(cli.__file__).resolve().parent.parent
    process = subprocess.Popen(
        [sys.executable, "-m", "holdfast", "config"],
        cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate()
    assert errors == b""
    assert process.returncode == 1
