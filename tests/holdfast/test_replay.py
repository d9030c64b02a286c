"""`holdfast replay` makes a kept failure happen again, and says what it cannot try."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import msgpack
import numpy as np
import pytest

from game.commands import Act, Join, TickCommands
from game.evidence import pack_evidence
from game.object_batch import batch_for
from holdfast import replay as replay_module
from holdfast.cli import main
from holdfast.games import make_game

FRAGILE = '''
"""A user's game."""
from holdfast import ObjectGame, Option

class Fragile(ObjectGame):
    name, seats = "fragile", 2
    options = (Option("limit", 10, 1, 100, ""),)

    def open(self, rng):
        return {"sum": 0}

    def join(self, state, seat, profile, rng):
        if profile.get("cursed"):
            raise LookupError("cursed")

    def step(self, state, inputs, rng):
        for seat, value in inputs:
            if value == "hang":
                while True:
                    pass
            state["sum"] += value
            if state["sum"] > self.option["limit"]:
                raise ArithmeticError(f"{state['sum']} is too much")  # for {object()}
'''
SPEC = "fragile_game:Fragile"


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    (tmp_path / "fragile_game.py").write_text(FRAGILE)
    return tmp_path


def keep(user: Path, *values: object, cursed: bool = False) -> Path:
    """The evidence of a room that fails over these acts, or over a join."""
    batch = batch_for(make_game(SPEC, {"limit": "20"}, 5))
    batch.open("r", 1)
    none = np.zeros(0, batch.input_record)
    batch.step(TickCommands(none, (Join("r", "a", "A", "j"),)))
    acts = [Act("r", 0, 1, seq, msgpack.packb(value)) for seq, value in enumerate(values, 1)]
    join = [Join("r", "b", "B", "j", {"cursed": True})] if cursed else []
    result = batch.step(TickCommands(none, (*acts, *join)))
    path = user / "r-2.room"
    path.write_bytes(pack_evidence(SPEC, batch, "r", result.failed["r"]))
    return path


def edit(user: Path, old: str, new: str) -> None:
    """Change the game's code, as another process would find it."""
    assert old in FRAGILE
    (user / "fragile_game.py").write_text(FRAGILE.replace(old, new))
    del sys.modules["fragile_game"]


def test_the_step_fails_again(user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(keep(user, 15, 6))]) == 0
    shown = capsys.readouterr().out
    assert "room     r, tick 2, in its step" in shown
    assert "game     fragile_game:Fragile (fragile 1) --tick-hz 5 -o limit=20" in shown
    assert 'fragile_game.py", line' in shown
    assert "ArithmeticError: 21 is too much" in shown
    assert shown.endswith("reproduced: the same exception\n")


def test_the_command_fails_again(user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(keep(user, cursed=True))]) == 0
    shown = capsys.readouterr().out
    assert "in the command Join" in shown
    assert "LookupError: cursed" in shown


def test_a_mended_game_is_tried_by_force(user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = keep(user, 15, 6)
    edit(user, "raise ArithmeticError", "print")
    assert main(["replay", str(path)]) == 2
    refused = capsys.readouterr()
    assert "ArithmeticError: 21 is too much" in refused.out, "what was kept is shown all the same"
    assert "would not continue it exactly (--force tries all the same)" in refused.err
    assert main(["replay", str(path), "--force"]) == 1
    assert capsys.readouterr().out.endswith("not reproduced: no exception any more\n")


def test_another_exception_is_not_the_same(user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = keep(user, 15, 6)
    edit(user, "raise ArithmeticError", "raise LookupError")
    assert main(["replay", str(path), "--force"]) == 1
    assert capsys.readouterr().out.endswith("not reproduced: another exception\n")


def test_a_game_that_has_moved_is_named(user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = keep(user, 15, 6)
    (user / "fragile_game.py").rename(user / "moved_game.py")
    del sys.modules["fragile_game"]
    assert main(["replay", str(path)]) == 2
    assert "no module 'fragile_game'" in capsys.readouterr().err
    assert main(["replay", str(path), "--game", "moved_game:Fragile"]) == 0


def test_a_hanging_game_is_stopped(
    user: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_module, "LIMIT_S", 0.05)
    path = keep(user, 15, 6)
    edit(user, 'if value == "hang":', "if True:")
    before = signal.getsignal(signal.SIGALRM)
    assert main(["replay", str(path), "--force"]) == 1
    assert "StepOverran" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGALRM) is before


@pytest.mark.parametrize("content", [b"", b"something else", b"HFE1" + b"x" * 50])
def test_a_file_that_is_no_evidence_is_one_line(user: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    (user / "x.room").write_bytes(content)
    assert main(["replay", "x.room"]) == 2
    assert main(["replay", "missing.room"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("holdfast replay: x.room: ")
    assert lines[1] == "holdfast replay: missing.room: No such file or directory"


def test_options_that_are_gone_say_so(user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = keep(user, 15, 6)
    edit(user, 'Option("limit", 10, 1, 100, "")', 'Option("most", 10, 1, 100, "")')
    assert main(["replay", str(path)]) == 2
    assert "the game cannot be made as it was: BadOption" in capsys.readouterr().err
