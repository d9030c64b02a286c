"""Messages: what is written is read again, what breaks a limit is refused, and no bytes do worse than that."""

from __future__ import annotations

import struct
from typing import Any

import attrs
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcode import messages
from netcode.errors import ErrorCode, ProtocolError
from netcode.messages import MESSAGE_MAX, MESSAGES, Message, decode, encode

ERROR = {"code": 1, "name": "", "message": ""}
U32 = st.integers(0, 2**32 - 1)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
SPECIAL: dict[str, Any] = {
    "protocol": st.integers(0, 2**16),
    "code": st.text(max_size=16),
    "seq": st.integers(1, 2**32 - 1),
    "data": st.binary(min_size=1, max_size=64),
    "connection": st.integers(0, 2**64 - 1),
    "seats": st.integers(1, 256),
    "tick_hz": st.integers(1, 128),
    "every": st.integers(1, 31),
    "generation": st.integers(0, 2**16 - 1),
    "window_s": st.integers(1, 3600),
    "udp_port": st.integers(0, 65535),
    "port": st.integers(1, 65535),
    "ticket": st.binary(max_size=256),
    "time_us": st.integers(0, 2**63 - 1),
    "key_up": st.binary(min_size=32, max_size=32),
    "key_down": st.binary(min_size=32, max_size=32),
    "secret": st.binary(min_size=32, max_size=32),
    "games": st.lists(st.text(max_size=20), max_size=64),
    "rooms": st.lists(st.dictionaries(st.text(max_size=8), PLAIN, max_size=5), max_size=5),
    "options": st.dictionaries(st.text(max_size=8), U32, max_size=8),
    "inputs": st.lists(st.lists(PLAIN, max_size=4), max_size=5),
    "events": st.lists(st.lists(PLAIN, max_size=4), max_size=5),
    "roster": st.lists(st.text(max_size=32), max_size=16),
    "view": st.dictionaries(st.text(max_size=8), PLAIN, max_size=2),
    "figures": st.dictionaries(st.text(max_size=8), PLAIN, max_size=8),
    **dict.fromkeys(("retryable", "fatal", "open", "private", "resumed", "missed", "suspended"), st.booleans()),
    **dict.fromkeys(
        ("ref", "epoch", "tick", "last_seq", "applied", "event_tick", "event_index", "resume_s", "above"), U32
    ),
    **dict.fromkeys(("seat", "stream", "part", "parts"), st.integers(0, 255)),
}
OWN = {("error", "code"): st.integers(0, 2**16)}


def any_message(cls: type[Message]) -> st.SearchStrategy[Message]:
    return st.builds(
        cls,
        **{f.name: OWN.get((cls.kind, f.name), SPECIAL.get(f.name, st.text(max_size=24))) for f in attrs.fields(cls)},
    )


@pytest.mark.parametrize("kind", MESSAGES)
def test_what_is_written_is_read_again(kind: str) -> None:
    @given(any_message(MESSAGES[kind]))
    def check(message: Message) -> None:
        assert decode(encode(message)) == message

    check()


def refusal(data: bytes) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        decode(data)
    return caught.value


@given(
    st.binary(max_size=200)
    | PLAIN.map(msgpack.packb)
    | st.builds(
        lambda kind, more: msgpack.packb({"t": kind, **more}),
        st.sampled_from(sorted(MESSAGES)),
        st.dictionaries(
            st.sampled_from(sorted({f.name for c in MESSAGES.values() for f in attrs.fields(c)})), PLAIN | st.floats()
        ),
    )
)
def test_any_bytes_give_a_message_or_a_protocol_error(data: bytes) -> None:
    outcome = read_or_refused(data)
    assert isinstance(outcome, Message) or outcome is ErrorCode.BAD_MESSAGE


@given(st.sampled_from(sorted(MESSAGES)).flatmap(lambda kind: any_message(MESSAGES[kind])), st.data())
def test_damaged_messages_do_no_worse(message: Message, data: st.DataObject) -> None:
    damaged = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    outcome = read_or_refused(bytes(damaged[: data.draw(st.integers(1, len(damaged)))]))
    assert isinstance(outcome, Message) or outcome is ErrorCode.BAD_MESSAGE


def read_or_refused(data: bytes) -> Message | ErrorCode:
    try:
        return decode(data)
    except ProtocolError as error:
        return error.code


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x81\xa1t" + b"\x91" * 60_000,
        b"\x91" * 60_000,
        b"\x81\xa1t\xdd\xff\xff\xff\xff",
        b"\x81\xa1t\xdf\xff\xff\xff\xff",
        b"\x81\xa1t\xdb\xff\xff\xff\xff",
        b"\x81\xa1t\xc6\xff\xff\xff\xff",
        b"\x81\xa1t\xc9\xff\xff\xff\xff\x01",
        b"\x81\xa1t\xd4\x01\x00",
        msgpack.packb({"t": "events", "room": "r", "events": [[msgpack.ExtType(1, b"x")]]}),
        b"\x81\xa1t\xd6\xff\x00\x00\x00\x00",
        b"\xc1",
        msgpack.packb({1: 2}),
        msgpack.packb({"t": ["join"]}),
        msgpack.packb({"t": float("nan")}),
        msgpack.packb({"t": "join", "ref": float("nan")}),
        msgpack.packb({"t": "join", "ref": 1.0}),
        msgpack.packb({"t": "join", "ref": True}),
        msgpack.packb({"t": "join"}) + b"\x00",
        msgpack.packb([1, 2]),
        msgpack.packb({"t": "nothing of ours"}),
        b"\x82\xa1t\xa4join\xa4room\xa3\xff\xfe\xfd",
        b"\x82\xa1t\xa4join\x81\x01\x02\xc0",
    ],
)
def test_bombs_and_foreign_bytes_are_refused(data: bytes) -> None:
    assert refusal(data).code is ErrorCode.BAD_MESSAGE


def test_the_size_of_a_message_is_limited() -> None:
    assert refusal(bytes(MESSAGE_MAX + 1)).code is ErrorCode.TOO_LARGE
    assert refusal(bytes(MESSAGE_MAX)).code is ErrorCode.BAD_MESSAGE


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("hello", {"protocol": 2**16}, {"protocol": 2**16 + 1}), ("hello", {"protocol": 0}, {"protocol": -1}),
        ("hello", {"protocol": 1, "agent": "a" * 80}, {"protocol": 1, "agent": "a" * 81}), ("login", {"secret":
        bytes(16)}, {"secret": bytes(15)}), ("login", {"secret": bytes(64)}, {"secret": bytes(65)}), ("login",
        {"secret": bytes(16), "name": "\u00e9" * 32}, {"secret": bytes(16), "name": "\u00e9" * 33}), ("chat", {"text":
        "x" * 200}, {"text": "x" * 201}), ("join", {"room": "x" * 64}, {"room": "x" * 65}), ("join", {"ref": 2**32 -
        1}, {"ref": 2**32}), ("create_room", {"game": ""}, {"game": b""}), ("stats_request", {"window_s": 1},
        {"window_s": 0}), ("stats_request", {"window_s": 3600}, {"window_s": 3601}), ("ping", {"time_us": 2**63 - 1},
        {"time_us": 2**63}), ("events", {"room": "r", "events": [[]] * 1024}, {"room": "r", "events": [[]] * 1025}),
        ("rooms", {"rooms": []}, {"rooms": {}}), ("stats", {"figures": {"a": None}}, {"figures": {b"a": None}}),
        ("error", {**ERROR, "fatal": True}, {**ERROR, "fatal": 1}),
    ],
)  # fmt: skip
def test_limits_at_their_edges(kind: str, good: dict[str, Any], bad: dict[str, Any]) -> None:
    assert decode(msgpack.packb({"t": kind, **good})).kind == kind
    error = refusal(msgpack.packb({"t": kind, **bad}))
    assert error.code is ErrorCode.BAD_MESSAGE
    assert str(error).startswith(f"{kind}: ")


def test_unknown_keys_are_ignored_and_missing_ones_take_their_default() -> None:
    assert decode(msgpack.packb({"t": "join", "colour": "red", b"x": 1})) == messages.Join()
    assert decode(msgpack.packb({"t": "leave"})) == messages.Leave()
    twice = b"\x83\xa1t\xa4join\xa3ref\x01\xa3ref\x02"
    assert decode(twice) == messages.Join(ref=2)


@pytest.mark.parametrize("kind", MESSAGES)
def test_a_missing_required_field_is_named(kind: str) -> None:
    for field in attrs.fields(MESSAGES[kind]):
        if field.default is attrs.NOTHING:
            assert refusal(msgpack.packb({"t": kind})).code is ErrorCode.BAD_MESSAGE
            assert "argument" in str(refusal(msgpack.packb({"t": kind})))


def test_a_message_of_ours_is_checked_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="text must be text of at most 200"):
        messages.Chat(text="x" * 201)


def test_an_error_carries_its_code_over_the_wire() -> None:
    error = messages.Error.of(ProtocolError(ErrorCode.ROOM_FULL, "x" * 1000), ref=3, fatal=True)
    assert decode(encode(error)) == error
    assert (error.code, error.name, error.retryable, error.fatal, error.ref) == (22, "room_full", True, True, 3)
    assert len(error.message) == 400


def test_a_declared_length_costs_no_memory() -> None:
    assert refusal(b"\xdd" + struct.pack(">I", 2**31)).code is ErrorCode.BAD_MESSAGE
