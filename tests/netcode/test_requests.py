"""The request table: every request gets its own answer, once, or is told why none comes."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from netcode import messages
from netcode.errors import ErrorCode, ProtocolError, RemoteError
from netcode.messages import Message
from netcode.requests import ANSWERS, REF_MAX, REQUESTS_MAX, Request, Requests

PING = messages.Ping(time_us=1)


def nothing() -> None:
    """A wake that nobody waits for."""


def test_an_answer_wakes_its_request_only() -> None:
    requests, woken = Requests(), list[str]()
    first = requests.add(PING, lambda: woken.append("first"))
    second = requests.add(messages.ListRooms(), lambda: woken.append("second"))
    assert (first.message.ref, second.message.ref) == (1, 2)
    assert requests.answer(messages.Rooms(ref=2, rooms=[])) is second
    assert (woken, first.done, second.done, len(requests)) == (["second"], False, True, 1)
    assert isinstance(second.result, messages.Rooms)
    assert requests.answer(messages.Rooms(ref=2, rooms=[])) is None
    assert requests.answer(messages.Pong(time_us=1)) is None


def test_a_refusal_is_raised_with_its_code() -> None:
    requests = Requests()
    request = requests.add(messages.Join(game="x"), nothing)
    requests.answer(messages.Error(ref=1, code=22, name="room_full", message="full", retryable=True))
    with pytest.raises(RemoteError, match="full") as caught:
        _ = request.result
    assert caught.value.code is ErrorCode.ROOM_FULL
    assert caught.value.retryable


def test_an_answer_of_another_kind_is_the_servers_fault() -> None:
    requests = Requests()
    requests.add(PING, nothing)
    with pytest.raises(ProtocolError, match="rooms is no answer to ping"):
        requests.answer(messages.Rooms(ref=1, rooms=[]))


def test_the_end_fails_those_that_wait_and_those_that_come() -> None:
    requests, woken = Requests(), list[int]()
    request = requests.add(PING, lambda: woken.append(1))
    requests.end(ProtocolError(ErrorCode.TIMED_OUT, "gone"))
    requests.end(ProtocolError(ErrorCode.INTERNAL, "later"))
    with pytest.raises(RemoteError, match="gone"):
        _ = request.result
    with pytest.raises(RemoteError, match="gone"):
        requests.add(PING, nothing)
    assert (woken, len(requests)) == ([1], 0)


def test_too_many_at_once_are_refused() -> None:
    requests = Requests()
    added = [requests.add(PING, nothing) for _ in range(REQUESTS_MAX)]
    with pytest.raises(RemoteError) as caught:
        requests.add(PING, nothing)
    assert caught.value.code is ErrorCode.LIMITED
    requests.drop(added[0])
    requests.drop(added[0])
    assert requests.add(PING, nothing).message.ref == REQUESTS_MAX + 1


def test_references_start_again_and_pass_over_those_in_use() -> None:
    requests = Requests()
    old = requests.add(PING, nothing)
    requests._ref = REF_MAX - 1
    assert [requests.add(PING, nothing).message.ref for _ in range(3)] == [REF_MAX, 2, 3]
    assert requests.answer(messages.Pong(ref=1, time_us=1)) is old


def test_every_request_of_a_client_has_its_answer() -> None:
    asked = {messages.Hello, messages.Login, messages.Resume, messages.ListRooms, messages.CreateRoom, messages.Join,
             messages.Leave, messages.Ping, messages.StatsRequest}  # fmt: skip
    assert set(ANSWERS) == asked


class Machine(RuleBasedStateMachine):
    """Whatever comes in whatever order: a request is woken once, by its own answer."""

    def __init__(self) -> None:
        super().__init__()
        self.requests = Requests()
        self.open: dict[int, Request] = {}
        self.woken: dict[int, int] = {}

    @rule()
    def add(self) -> None:
        if len(self.open) < REQUESTS_MAX:
            ref = 0

            def wake() -> None:
                self.woken[ref] = self.woken.get(ref, 0) + 1

            request = self.requests.add(PING, wake)
            ref = request.message.ref
            self.open[ref] = request

    @rule(ref=st.integers(0, 80))
    def answer(self, ref: int) -> None:
        message: Message = messages.Pong(ref=ref, time_us=ref)
        request = self.requests.answer(message)
        assert request is self.open.pop(ref, None)
        if request is not None:
            assert request.result is message
            assert self.woken[ref] == 1

    @rule(ref=st.integers(1, 80))
    def drop(self, ref: int) -> None:
        if ref in self.open:
            self.requests.drop(self.open.pop(ref))

    @invariant()
    def counts(self) -> None:
        assert len(self.requests) == len(self.open)


TestMachine = Machine.TestCase
