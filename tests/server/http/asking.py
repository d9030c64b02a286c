"""A client that asks over a real socket what the test tells it to, well or badly made."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import h11
import trio

from tests.server.helpers import HANG_S, HOST, Node, running


@attrs.frozen
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def told(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The name of the error that it tells."""
        name: str = self.told["error"]["name"]
        return name


@attrs.frozen
class Web:
    """A node's HTTP."""

    node: Node
    port: int
    token: str

    async def get(self, path: str, **how: Any) -> Answer:
        """With the token."""
        return await self.ask("GET", path, **how)

    async def post(self, path: str, told: Any = None, **how: Any) -> Answer:
        """With the token, and a body where there is one."""
        if told is not None:
            how.setdefault("body", json.dumps(told).encode())
            how["headers"] = {"Content-Type": "application/json", **how.get("headers", {})}
        return await self.ask("POST", path, **how)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        token: str | None = "",
        host: str = "",
    ) -> Answer:
        """One request over a connection of its own; `token` None: none is shown."""
        said = {"Host": host or f"{HOST}:{self.port}"}
        if token is not None:
            said["Authorization"] = f"Bearer {token or self.token}"
        if body:
            said["Content-Length"] = str(len(body))
        lines = [f"{name}: {value}" for name, value in {**said, **(headers or {})}.items()]
        head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode("latin-1")
        async with self.raw() as stream:
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(head + body)
            return await answer_of(stream, method)

    @contextlib.asynccontextmanager
    async def raw(self) -> AsyncIterator[trio.SocketStream]:
        """A connection on which nothing is said yet."""
        with trio.fail_after(HANG_S):
            async with await trio.open_tcp_stream(HOST, self.port) as stream:
                yield stream


async def answer_of(stream: trio.abc.Stream, method: str = "GET") -> Answer:
    """The answer to a request that was written by hand."""
    talk = h11.Connection(h11.CLIENT)
    talk.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    talk.send(h11.EndOfMessage())
    status, headers, body = 0, dict[str, str](), b""
    with trio.fail_after(HANG_S):
        while True:
            event = talk.next_event()
            if event is h11.NEED_DATA:
                talk.receive_data(bytes(await stream.receive_some(65536)))
            elif isinstance(event, h11.Response):
                status = event.status_code
                headers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return Answer(status, headers, body)


async def ended(stream: trio.abc.Stream) -> bytes:
    """What still comes until the server has closed the connection."""
    rest = b""
    with trio.fail_after(HANG_S), contextlib.suppress(trio.BrokenResourceError):
        while data := await stream.receive_some(65536):
            rest += bytes(data)
    return rest


@contextlib.asynccontextmanager
async def serving_web(data: Path, games: Any = None, **settings: Any) -> AsyncIterator[Web]:
    """A node that answers HTTP."""
    async with running(data, games, **settings) as node:
        token = "" if settings.get("http_token_file") else (data / "http.token").read_text().strip()
        yield Web(node, node.parts.http_port, token)
