"""Addresses, and reaching a server that has several."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest
import trio

from netcode.errors import NetcodeError
from netcode.reach import PLACES_MAX, parse_address, places_of, reach
from netcode.weblink import Link
from tests.netcode.scripted import HOST, Stage, listening


async def serve(stage: Stage) -> None:
    await stage.stay()


@contextlib.asynccontextmanager
async def mute() -> AsyncIterator[str]:
    """A server that takes the connection and says nothing."""
    with trio.socket.socket() as listener:
        await listener.bind((HOST, 0))
        listener.listen()
        yield f"{HOST}:{listener.getsockname()[1]}"


async def closed() -> str:
    """An address where nobody listens."""
    with trio.socket.socket() as sock:
        await sock.bind((HOST, 0))
        return f"{HOST}:{sock.getsockname()[1]}"


@contextlib.asynccontextmanager
async def reached(server: str) -> AsyncIterator[Link]:
    async with trio.open_nursery() as nursery:
        link = await reach(places_of(server), nursery)
        yield link
        link.close()


async def test_the_first_address_that_answers_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netcode.reach.HEDGE_S", 60.0)
    async with listening(serve) as server, reached(f"{await closed()}, {server}") as link:
        assert f"{HOST}:{link.peer[1]}" == server
    async with listening(serve) as server, mute() as other, reached(f"{server},{other}") as link:
        assert f"{HOST}:{link.peer[1]}" == server


async def test_an_address_that_says_nothing_gets_company(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netcode.reach.HEDGE_S", 0.01)
    async with listening(serve) as server, mute() as other, reached(f"{other},{server}") as link:
        assert f"{HOST}:{link.peer[1]}" == server


async def test_when_none_answers_the_first_error_is_told() -> None:
    first, second = await closed(), await closed()
    async with trio.open_nursery() as nursery:
        with pytest.raises(OSError, match=first.rpartition(":")[2]) as caught:
            await reach(places_of(f"{first},{second}"), nursery)
    assert not isinstance(caught.value, NetcodeError)


@pytest.mark.parametrize("text", ["", "host", "host:", "host:x", ":0", "host:65536", "host:-1", "host:\u0663"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as 127\.0\.0\.1:7777"):
        parse_address(text)
    with pytest.raises(ValueError, match=r"such as 127\.0\.0\.1:7777"):
        places_of(f"127.0.0.1:1,{text}")


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:7777", ("127.0.0.1", 7777)), ("[::1]:1", ("::1", 1)), ("example.org:65535", ("example.org", 65535))],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


def test_too_many_addresses() -> None:
    with pytest.raises(ValueError, match="at most 16"):
        places_of(",".join(["127.0.0.1:1"] * (PLACES_MAX + 1)))
