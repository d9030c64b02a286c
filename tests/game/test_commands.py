"""A tick's commands as journal bytes: what goes in comes out, anything else is refused."""

from __future__ import annotations

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from game.commands import (
    COMMANDS,
    Act,
    Applied,
    Chat,
    Close,
    Command,
    Connect,
    Disconnect,
    HandOff,
    Join,
    Leave,
    Quarantine,
    Recovered,
    Skip,
    TickCommands,
    decode_commands,
    encode_commands,
    input_record_dtype,
)
from game.errors import BadCommands
from tests.game.games import Tally

INPUT = Tally().input_dtype
RECORD = input_record_dtype(INPUT)
TEXT = st.text(max_size=8)
SEAT, U16, U32 = st.integers(0, 255), st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)
COMMAND = st.one_of(
    st.builds(Join, TEXT, TEXT, TEXT, TEXT, st.dictionaries(TEXT, U32, max_size=3)),
    st.builds(Leave, TEXT, SEAT, U16),
    st.builds(Disconnect, TEXT, SEAT, U16, U32),
    st.builds(Connect, TEXT, SEAT, U16, TEXT),
    st.builds(Act, TEXT, SEAT, U16, U32, st.binary(max_size=8)),
    st.builds(Close, TEXT),
    st.builds(Quarantine, TEXT),
    st.builds(Recovered, TEXT, U32),
    st.builds(HandOff, TEXT, TEXT),
    st.builds(Skip, TEXT, SEAT, U16, U32, U32),
    st.builds(Chat, TEXT, SEAT, U16, TEXT),
    st.builds(Applied, TEXT, st.lists(TEXT, max_size=3).map(tuple)),
)
INPUTS = st.lists(st.tuples(U32, SEAT, U32, SEAT, st.integers(-9, 9), st.integers(0, 3)), max_size=5)


@given(st.lists(COMMAND, max_size=6), INPUTS)
def test_bytes_come_back(commands: list[Command], inputs: list[tuple[int, ...]]) -> None:
    tick = TickCommands(np.array(inputs, RECORD), tuple(commands))
    again = decode_commands(encode_commands(tick), INPUT)
    assert again.commands == tick.commands
    assert again.inputs.tobytes() == tick.inputs.tobytes()


def test_an_input_record_is_packed() -> None:
    assert RECORD.itemsize == 4 + 1 + 4 + 1 + 2 + 1


@given(st.binary(max_size=60))
def test_random_bytes_are_refused_or_read(data: bytes) -> None:
    try:
        decode_commands(data, INPUT)
    except BadCommands:
        return


@pytest.mark.parametrize(
    "record",
    [
        [],
        [b"", [["dance", "room"]]],
        [b"", [["leave", "room"]]],
        [b"", [[]]],
        [b"123", []],
        [7, []],
    ],
)
def test_other_records_are_refused(record: object) -> None:
    with pytest.raises(BadCommands):
        decode_commands(msgpack.packb(record), INPUT)


def test_every_command_has_a_kind_of_its_own() -> None:
    assert set(COMMANDS.values()) == set(Command.__subclasses__())
    assert all(cls.kind == kind for kind, cls in COMMANDS.items())
