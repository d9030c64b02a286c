"""Whether, when and with what to come back."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcode import messages
from netcode.errors import ErrorCode
from netcode.resume import FIRST_WAIT_S, LONGEST_WAIT_S, Backoff, ConnectionEnded, SavedSession

SAVED = SavedSession("a:1,b:2", "account", "Ann", "5e" * 16, b"S" * 32, 3, 4, b"device-secret-16")
saved_sessions = st.builds(
    SavedSession,
    server=st.text(max_size=40), account=st.text(max_size=40), name=st.text(max_size=32),
    session=st.text(max_size=32), secret=st.binary(min_size=32, max_size=32),
    event_tick=st.integers(0, 2**32 - 1), event_index=st.integers(0, 2**32 - 1),
    device_secret=st.binary(max_size=64),
)  # fmt: skip


@given(saved_sessions)
def test_a_saved_session_comes_back_from_its_bytes(saved: SavedSession) -> None:
    assert SavedSession.from_bytes(saved.to_bytes()) == saved


def test_its_text_shows_no_secret() -> None:
    text = f"{SAVED!r} {SAVED}"
    assert "Ann" in text
    assert "SSSS" not in text
    assert "device-secret" not in text


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no saved session"):
        SavedSession.from_bytes(data)


@pytest.mark.parametrize(
    "change",
    [{"secret": b"short"}, {"secret": "S" * 32}, {"session": "x" * 33}, {"event_tick": -1}, {"event_index": 2**32},
     {"device_secret": bytes(65)}, {"unknown": 1}, {"account": 7}],
)  # fmt: skip
def test_fields_that_do_not_fit_are_refused(change: dict[str, object]) -> None:
    version, fields = msgpack.unpackb(SAVED.to_bytes())
    with pytest.raises(ValueError, match="no saved session"):
        SavedSession.from_bytes(msgpack.packb([version, {**fields, **change}]))
    with pytest.raises(ValueError, match="no saved session"):
        SavedSession.from_bytes(msgpack.packb([version + 1, fields]))
    with pytest.raises(ValueError, match="no saved session"):
        SavedSession.from_bytes(SAVED.to_bytes() + bytes(5000))


def test_waits_double_up_to_a_bound_and_are_drawn_from_zero() -> None:
    late, early = Backoff(lambda: 0.999999), Backoff(lambda: 0.0)
    waits = [late.next_s() for _ in range(8)]
    assert waits == pytest.approx([0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0, 2.0], rel=1e-3)
    assert waits[0] < FIRST_WAIT_S
    assert max(waits) < LONGEST_WAIT_S
    assert [early.next_s() for _ in range(3)] == [0.0] * 3


def test_the_server_says_whether_to_come_back() -> None:
    for code in ErrorCode:
        told = messages.Error(code=code.number, name=code.wire_name, message="x", retryable=code.retryable)
        assert ConnectionEnded.refused(told).again is code.retryable
    assert ConnectionEnded.lost("reset").again
