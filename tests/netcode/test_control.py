"""The control channel: its whole table, in both directions, however the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcode import messages
from netcode.control import (
    CLIENT_ACCEPTS,
    PROTOCOL,
    SERVER_ACCEPTS,
    ControlChannel,
    State,
    message_bytes,
    realtime_bytes,
)
from netcode.errors import ErrorCode, ProtocolError
from netcode.messages import Message

SAMPLES: list[Message] = [
    messages.Hello(protocol=PROTOCOL),
    messages.Login(secret=bytes(16)),
    messages.ListRooms(),
    messages.CreateRoom(game="arena"),
    messages.Join(game="arena", ref=4),
    messages.Leave(),
    messages.Watch(room="r", ref=5),
    messages.Unwatch(),
    messages.Chat(text="hi"),
    messages.Act(seq=1, data=b"x"),
    messages.Resume(session="s", secret=bytes(32)),
    messages.Ping(time_us=5),
    messages.StatsRequest(),
    messages.Welcome(
        session="s", secret=bytes(32), account="a", name="n", games=[], udp_port=1,
        connection=2, suite="aes-256-gcm", key_up=bytes(32), key_down=bytes(32),
    ),
    messages.Redirect(host="", port=1, ticket=b""),
    messages.Rooms(rooms=[]),
    messages.RoomCreated(room="r", seats=2),
    messages.Seated(
        room="r", game="g", options={}, seat=0, seats=1, generation=1, stream=1, epoch=0, tick=1, tick_hz=20,
        last_seq=0, inputs=[], view={}, roster=[],
    ),
    messages.Part(room="r", part=0, data=b""),
    messages.Left(room="r", seat=0, last_seq=1, applied=1),
    messages.Watching(
        room="r", game="g", options={}, seats=1, stream=1, epoch=0, tick=1, tick_hz=20, every=2, view={}, roster=[],
    ),
    messages.Unwatched(),
    messages.Events(room="r", events=[]),
    messages.Pong(time_us=5),
    messages.Stats(figures={}),
    messages.Notice(text="back in a minute"),
    messages.Error(code=1, name="bad_message", message="m"),
]  # fmt: skip
HELLO = message_bytes(messages.Hello(protocol=PROTOCOL))
LOGIN = message_bytes(messages.Login(secret=bytes(16)))
WELCOME = message_bytes(next(sample for sample in SAMPLES if isinstance(sample, messages.Welcome)))
AFTER = {
    messages.Hello: State.GREETED,
    messages.Login: State.ENTERING,
    messages.Resume: State.ENTERING,
    messages.Welcome: State.MEMBER,
}


def channel(server: bool, state: State) -> ControlChannel:
    """A channel that got where it is by what was said."""
    found = ControlChannel(server)
    if state is not State.FRESH:
        found.receive_data(HELLO)
    if server and state in (State.ENTERING, State.MEMBER):
        found.receive_data(LOGIN)
        if state is State.MEMBER:
            found.logged_in()
    if not server and state is State.MEMBER:
        found.receive_data(WELCOME)
    if state is State.CLOSED:
        with pytest.raises(ProtocolError):
            found.receive_data(bytes(4))
    assert found.state is state
    return found


CASES = [
    (server, state, sample)
    for server in (True, False)
    for state in State
    for sample in SAMPLES
    if server or state is not State.ENTERING
]


@pytest.mark.parametrize(("server", "state", "said"), CASES, ids=lambda case: getattr(case, "kind", str(case)))
def test_who_may_say_what_when(server: bool, state: State, said: Message) -> None:
    end = channel(server, state)
    if type(said) in (SERVER_ACCEPTS if server else CLIENT_ACCEPTS)[state]:
        assert end.receive_data(message_bytes(said)) == [said]
        assert end.state is AFTER.get(type(said), state)
    else:
        with pytest.raises(ProtocolError) as caught:
            end.receive_data(message_bytes(said))
        assert caught.value.code in (ErrorCode.OUT_OF_TURN, ErrorCode.TOO_LARGE)
        assert end.state is State.CLOSED


def test_the_tables_hold_what_the_drawing_says() -> None:
    """Against a table that accepts everything: what a stranger may do is written down here once more."""
    assert SERVER_ACCEPTS[State.FRESH] == {messages.Hello}
    assert SERVER_ACCEPTS[State.GREETED] == {messages.Login, messages.Resume, messages.Ping}
    assert SERVER_ACCEPTS[State.ENTERING] == {messages.Ping}
    assert SERVER_ACCEPTS[State.CLOSED] == CLIENT_ACCEPTS[State.CLOSED] == frozenset()
    assert not {messages.Login, messages.Resume} & SERVER_ACCEPTS[State.MEMBER]
    assert messages.Seated not in CLIENT_ACCEPTS[State.GREETED]
    spoken = {type(sample) for sample in SAMPLES}
    assert (
        frozenset.union(*SERVER_ACCEPTS.values(), *CLIENT_ACCEPTS.values()) == spoken == set(messages.MESSAGES.values())
    )


@pytest.mark.parametrize("server", [True, False])
def test_another_version_is_refused_naming_both(server: bool) -> None:
    end = ControlChannel(server)
    with pytest.raises(ProtocolError, match=rf"protocol {PROTOCOL}, the other {PROTOCOL + 8}") as caught:
        end.receive_data(message_bytes(messages.Hello(protocol=PROTOCOL + 8)))
    assert caught.value.code is ErrorCode.WRONG_VERSION
    assert end.state is State.CLOSED


@pytest.mark.parametrize("server", [True, False])
@pytest.mark.parametrize("state", State)
def test_realtime_packets_pass_for_members_only(server: bool, state: State) -> None:
    if not server and state is State.ENTERING:
        return
    end = channel(server, state)
    if state is State.MEMBER:
        assert end.receive_data(realtime_bytes(b"\x01abc")) == [b"\x01abc"]
    else:
        with pytest.raises(ProtocolError):
            end.receive_data(realtime_bytes(b"\x01abc"))
        assert end.state is State.CLOSED


@given(st.lists(st.integers(0, 300), max_size=30))
def test_however_the_bytes_are_cut(cuts: list[int]) -> None:
    said: list[Message | bytes] = [
        messages.Join(game="arena", ref=1),
        b"\x01" + bytes(100),
        messages.Ping(time_us=7),
        b"",
    ]
    stream = b"".join(realtime_bytes(item) if isinstance(item, bytes) else message_bytes(item) for item in said)
    end, got, at = channel(True, State.MEMBER), list[Message | bytes](), 0
    for cut in [*sorted(min(cut, len(stream)) for cut in cuts), len(stream)]:
        got += end.receive_data(stream[at:cut])
        at = cut
    assert got == said


def test_many_log_ins_in_one_piece_are_out_of_turn() -> None:
    end = ControlChannel(server=True)
    with pytest.raises(ProtocolError, match="login is out of turn"):
        end.receive_data(HELLO + LOGIN + LOGIN)


def test_a_giant_length_is_refused_before_anything_of_it_came() -> None:
    end = channel(True, State.MEMBER)
    with pytest.raises(ProtocolError) as caught:
        end.receive_data(b"\xff\xff\xff\xff")
    assert caught.value.code is ErrorCode.TOO_LARGE


@given(st.binary(max_size=100))
def test_any_bytes_give_messages_or_a_protocol_error(data: bytes) -> None:
    for state in (State.FRESH, State.MEMBER):
        end = channel(True, state)
        try:
            end.receive_data(data)
        except ProtocolError:
            assert end.state is State.CLOSED
