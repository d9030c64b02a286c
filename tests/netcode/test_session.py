"""The table of sessions: found three ways, one a player, none too many, none for ever."""

from __future__ import annotations

import pytest

from netcode.errors import ErrorCode, ProtocolError
from netcode.seal import Suite
from netcode.server_end import SLOT_BITS, Channel, ServerEnd
from netcode.session import SESSION_MAX_S, Session, SessionTable, secret_hash
from tests.netcode.ends import HOME, ends


def end(number: int) -> ServerEnd:
    return ServerEnd(number << SLOT_BITS, bytes(32), bytes(32), bytes(32), Suite.AES_256_GCM)


def session(number: int, account: str = "", now: float = 0.0) -> Session:
    return Session(f"s{number}", account or f"a{number}", "", b"", end(number), now, now)


def found(table: SessionTable, session: Session) -> Session | None:
    """Whom datagrams of the session's connection find."""
    one = table.ends.find(session.end.connection)
    return None if one is None else table.ends.owners[one.slot]


def test_a_session_is_found_by_id_connection_and_account() -> None:
    table, one = SessionTable(10), session(1)
    assert table.add(one) is None
    assert (table.by_id["s1"], found(table, one), table.by_account["a1"]) == (one, one, one)
    assert len(table) == 1
    table.remove(one)
    table.remove(one)
    assert (len(table), len(table.ends), table.by_account) == (0, 0, {})


def test_a_new_log_in_replaces_the_old_one_even_in_a_full_table() -> None:
    table, old, new = SessionTable(1), session(1, "ann"), session(2, "ann")
    table.add(old)
    assert table.add(new) is old
    assert (table.by_account["ann"], set(table.by_id), found(table, old), found(table, new)) == (new, {"s2"}, None, new)
    table.remove(old)  # its connection ends only now
    assert table.by_account["ann"] is new


def test_a_full_table_refuses_and_stays_as_it_is() -> None:
    table = SessionTable(2)
    table.add(session(1))
    table.add(session(2))
    with pytest.raises(ProtocolError, match="2 players") as caught:
        table.add(session(3))
    assert caught.value.code is ErrorCode.TOO_MANY_SESSIONS
    assert caught.value.code.retryable
    assert len(table) == len(table.ends) == len(table.by_account) == 2


def test_silent_is_who_was_heard_on_neither_channel() -> None:
    table = SessionTable(10)
    for number in (1, 2, 3):
        table.add(session(number, now=0.0))
    table.by_id["s2"].heard_at = 8.0
    client, end, _ = ends(connection=3)
    table.by_id["s3"].end = end
    end.receive(client.seal_input(b"", 9.0), HOME, 9.0)
    assert table.silent(10.0, 10.0) == []
    assert [found.id for found in table.silent(10.5, 10.0)] == ["s1"]
    assert [found.id for found in table.silent(18.5, 10.0)] == ["s1", "s2"]
    assert [found.id for found in table.silent(30.0, 10.0)] == ["s1", "s2", "s3"]


def test_a_session_ends_at_its_age() -> None:
    table = SessionTable(10)
    table.add(session(1, now=0.0))
    table.add(session(2, now=5.0))
    assert table.outlived(SESSION_MAX_S) == []
    assert [found.id for found in table.outlived(SESSION_MAX_S + 1.0)] == ["s1"]


def test_what_is_kept_of_a_secret_does_not_hold_it() -> None:
    assert secret_hash(b"x" * 32) == secret_hash(b"x" * 32) != secret_hash(b"y" * 32)
    assert b"x" * 8 not in secret_hash(b"x" * 32)


def test_a_lost_session_is_found_by_its_secret_alone_and_its_keys_are_worth_nothing() -> None:
    table, one = SessionTable(10), session(1)
    one.secret_hash = secret_hash(b"s" * 32)
    table.add(one)
    table.lose(one, 5.0)
    table.lose(one, 6.0)
    assert one.lost_at == 5.0
    assert (found(table, one), len(table.ends), len(table)) == (None, 0, 1)
    assert table.silent(100.0, 10.0) == []


def test_resuming_gives_a_new_connection_and_drops_the_old_one() -> None:
    table, one = SessionTable(10), session(1)
    one.link = "old"
    table.add(one)
    one.end.channel = Channel.DATAGRAM
    before, fresh = one.end.connection, end(7)
    assert table.resume(one, fresh, "new", 9.0) == "old"
    assert (one.link, one.generation, one.heard_at) == ("new", 1, 9.0)
    assert one.end.channel is Channel.UNKNOWN
    assert (found(table, one), table.ends.find(before), len(table.ends)) == (one, None, 1)
    table.lose(one, 10.0)
    table.resume(one, end(8), "newer", 11.0)
    assert (one.lost_at, one.generation, found(table, one), len(table.ends)) == (None, 2, one, 1)


def test_a_lost_session_expires() -> None:
    table, one, two = SessionTable(10), session(1), session(2)
    table.add(one)
    table.add(two)
    table.lose(one, 5.0)
    assert table.expired(35.0, 30.0) == []
    assert table.expired(35.1, 30.0) == [one]
    table.remove(one)
    assert one.ended
    table.lose(one, 40.0)
    assert one.lost_at == 5.0


def test_a_full_table_gives_up_who_has_been_lost_for_longest() -> None:
    table = SessionTable(3)
    for number in (1, 2, 3):
        table.add(session(number))
    table.lose(table.by_id["s3"], 4.0)
    table.lose(table.by_id["s2"], 5.0)
    replaced = table.add(session(4))
    assert replaced is not None
    assert (replaced.id, replaced.ended, set(table.by_id)) == ("s3", True, {"s1", "s2", "s4"})
