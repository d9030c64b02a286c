"""Connections: what is too much, too slow or not HTTP ends its own connection, and nobody else notices."""

from __future__ import annotations

import contextlib
import gc
import socket
from pathlib import Path
from typing import Any

import pytest
import trio

from server.http import connections, guard, routes
from tests.server.helpers import HANG_S, playing, running, until
from tests.server.http.asking import Web, answer_of, ended, serving_web


async def is_well(web: Web) -> None:
    """The node answers, and its ticks go on."""
    assert (await web.get("/healthz", token=None)).status == 200
    ticks = web.node.metrics.ticks
    async with playing(web.node):
        assert web.node.metrics.ticks > ticks


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a:\r\n" * 10_000 + b"\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(100),
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\ntrailing",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n",
        b"GET\r\n\r\n",
        b"\r\n" * 5000,
        b"\x00" * 5000,
    ],
)
async def test_what_is_no_request_ends_its_connection(tmp_path: Path, said: bytes) -> None:
    async with serving_web(tmp_path) as web:
        async with web.raw() as stream:
            await stream.send_all(said)
            told = await ended(stream)
        assert told == b"" or told.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 ", b"HTTP/1.1 421 ")), told[:100]
        assert b"Traceback" not in told
        await is_well(web)


async def test_a_head_that_does_not_come_ends_its_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.1)
    async with serving_web(tmp_path) as web:
        for said in (b"", b"GET /healthz HTT", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "):
            async with web.raw() as stream:
                if said:
                    await stream.send_all(said)
                assert await ended(stream) == b""
        await is_well(web)


async def test_bytes_that_trickle_put_nothing_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.3)
    async with serving_web(tmp_path) as web, web.raw() as stream:
        said = bytearray(b"GET / HTTP/1.1\r\nX: " + b"a" * 1000)
        told: bytes | None = None
        while told is None:
            await stream.send_all(bytes([said.pop(0)]))
            with trio.move_on_after(0.01):
                told = await ended(stream)
        assert told == b""
        assert said


async def test_a_body_that_does_not_come_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "BODY_S", 0.1)
    async with serving_web(tmp_path) as web, web.raw() as stream:
        head = f"POST /api/v1/broadcast HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {web.token}\r\n"
        head += "Content-Type: application/json\r\nContent-Length: 20\r\n\r\n"
        await stream.send_all(head.encode() + b'{"text')
        answer = await answer_of(stream, "POST")
        assert (answer.status, answer.error) == (408, "timed_out")
        await is_well(web)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_is_too_large_is_not_read(tmp_path: Path, chunked: bool) -> None:
    async with serving_web(tmp_path) as web:
        headers = {"Content-Type": "application/json"}
        body = b" " * 100_000
        if chunked:
            headers["Transfer-Encoding"] = "chunked"
            async with web.raw() as stream:
                lines = f"POST /api/v1/broadcast HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {web.token}\r\n"
                lines += "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                await stream.send_all(lines.encode() + b"1\r\n \r\n" * 6000)
                answer = await answer_of(stream, "POST")
        else:
            answer = await web.ask("POST", "/api/v1/broadcast", headers=headers, body=body)
        assert (answer.status, answer.error) == (413, "too_large")
        await is_well(web)


async def test_who_does_not_read_keeps_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = trio.Event()
    wait_writable = trio.lowlevel.wait_writable

    async def waits(sock: Any) -> None:  # for what the server could not write at once
        blocked.set()
        await wait_writable(sock)

    async with serving_web(tmp_path) as web, web.raw() as stream:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        monkeypatch.setattr(trio.lowlevel, "wait_writable", waits)
        request = f"GET /api/v1/openapi.json HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\n\r\n".encode()
        with trio.fail_after(HANG_S):
            while not blocked.is_set():
                await stream.send_all(request * 10)
                with trio.move_on_after(0.01):
                    await blocked.wait()
            assert HANG_S < connections.REQUEST_S
            await is_well(web)


async def test_requests_behind_each_other_are_all_answered(tmp_path: Path) -> None:
    async with serving_web(tmp_path) as web, web.raw() as stream:
        request = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\n"
        await stream.send_all(f"{request}\r\n".encode() * 5 + f"{request}Connection: close\r\n\r\n".encode())
        assert (await ended(stream)).count(b"HTTP/1.1 200 ") == 6


async def test_the_one_that_was_idle_for_longest_makes_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 3)
    async with serving_web(tmp_path) as web, web.raw() as first, web.raw(), web.raw():
        answer = await web.get("/healthz", token=None)
        assert answer.status == 200
        assert await ended(first) == b""


async def test_of_many_who_come_at_once_each_ends_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 5)
    monkeypatch.setattr(connections, "HEAD_S", 60.0)
    async with serving_web(tmp_path) as web, contextlib.AsyncExitStack() as stack:
        socks = [stack.enter_context(socket.create_connection(("127.0.0.1", web.port))) for _ in range(20)]
        await until(lambda: sum(map(_is_open, socks)) == 5)
        await is_well(web)


def _is_open(sock: socket.socket) -> bool:
    try:
        return sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


async def test_connections_go_without_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a collector's help: at a thousand a second it would have to stop ticks for it."""
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 2)
    monkeypatch.setattr("server.node.collect_garbage", trio.sleep_forever)
    kinds = connections._Connection, connections._Http1

    def there() -> int:
        return sum(isinstance(one, kinds) for one in gc.get_objects())

    async with serving_web(tmp_path) as web:
        before = there()
        gc.disable()
        try:
            for _ in range(5):
                async with web.raw(), web.raw() as silent, web.raw():
                    await silent.send_all(b"GET /healthz")
                    assert (await web.get("/healthz", token=None)).status == 200
                    assert there() > before
            await until(lambda: there() == before)
        finally:
            gc.enable()


async def test_an_address_has_its_limits(tmp_path: Path) -> None:
    async with serving_web(tmp_path, limit_loopback=True, connects_per_s=0.1) as web:
        statuses = []
        for _ in range(3):
            try:
                statuses.append((await web.get("/healthz", token=None)).status)
            except Exception:
                statuses.append(0)
        assert statuses[0] == 200
        assert statuses[-1] == 0


async def test_requests_of_an_address_have_their_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "REQUESTS_PER_S", 0.1)
    monkeypatch.setattr(guard, "REQUESTS_BURST", 20.0)
    async with serving_web(tmp_path, limit_loopback=True) as web, web.raw() as stream:
        request = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\n"
        await stream.send_all(f"{request}\r\n".encode() * 39 + f"{request}Connection: close\r\n\r\n".encode())
        told = await ended(stream)
        assert told.count(b"HTTP/1.1 200 ") in (20, 21, 22)
        assert told.count(b"HTTP/1.1 429 ") == 40 - told.count(b"HTTP/1.1 200 ")
        assert b'"limited"' in told


async def test_it_can_be_switched_off(tmp_path: Path) -> None:
    async with running(tmp_path, http_port=-1) as node:
        assert node.parts.http_port == 0
        assert not (tmp_path / "http.token").exists()
