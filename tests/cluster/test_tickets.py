"""Tickets: ours, for this node, and not too old; or worth nothing."""

from __future__ import annotations

import attrs
import pytest

from cluster.errors import BadTicket
from cluster.tickets import HOPS_MAX, Ticket, Tickets

KEY = bytes(range(32))
TICKET = Ticket("s" * 32, "r" * 16, "node-1.0123456789abcdef", "resume", 1, 1_800_000_030.0)


def test_what_is_signed_is_read_again() -> None:
    data = Tickets(KEY).sign(TICKET)
    assert len(data) <= 256
    assert Tickets(KEY).check(data, 1_800_000_000.0, TICKET.incarnation) == TICKET


def test_every_altered_byte_and_every_cut_is_seen() -> None:
    data = Tickets(KEY).sign(TICKET)
    for at in range(len(data)):
        for changed in (data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], data[:at]):
            with pytest.raises(BadTicket):
                Tickets(KEY).check(changed, 0.0, TICKET.incarnation)


def test_of_another_key_too_old_or_for_another_node() -> None:
    data = Tickets(KEY).sign(TICKET)
    with pytest.raises(BadTicket, match="not ours"):
        Tickets(bytes(32)).check(data, 0.0, TICKET.incarnation)
    with pytest.raises(BadTicket, match="too old"):
        Tickets(KEY).check(data, TICKET.expires_s + 1, TICKET.incarnation)
    with pytest.raises(BadTicket, match="another node"):
        Tickets(KEY).check(data, 0.0, "node-2.0123456789abcdef")


def test_nobody_is_sent_on_for_ever() -> None:
    Tickets(KEY).sign(attrs.evolve(TICKET, hops=HOPS_MAX))
    with pytest.raises(BadTicket, match="sent on"):
        Tickets(KEY).sign(attrs.evolve(TICKET, hops=HOPS_MAX + 1))


def test_names_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BadTicket, match="too long"):
        Tickets(KEY).sign(attrs.evolve(TICKET, room="r" * 300))
