"""Peers: what only another node knows is asked of it, over its own HTTP port, with the token that all of them share.

One question, one connection, ASK_S for all of it: a node that does not answer is left out of what is told, and named.
"""

from __future__ import annotations

import contextlib
import json
import ssl
from typing import Any

import h11
import trio

from cluster.model import Member
from netcode.errors import ErrorCode, ProtocolError, error_code
from server.http.errors import Refused
from server.http.site import Site
from server.http.turns import away
from server.listing import http_port_of

PEER = "holdfast-node"
"""What a node calls itself, as `User-Agent`."""
ASK_S = 1.5
ANSWER_BYTES_MAX = 1 << 20


class Silent(ProtocolError):
    """A node does not answer."""

    def __init__(self, member: Member) -> None:
        super().__init__(ErrorCode.ROOM_MOVING, f"{member.node} does not answer; try again")


async def ask(site: Site, member: Member, path: str, method: str = "GET", told: Any = None) -> Any:
    """What another node answers. Raises ProtocolError: Silent, or what the other one refuses."""
    async with away():
        try:
            with trio.fail_after(ASK_S):
                status, body = await _ask(site, member, method, path, told)
            answer = json.loads(body)
        except (OSError, trio.TooSlowError, trio.BrokenResourceError, h11.ProtocolError, ValueError) as error:
            raise Silent(member) from error
    if status >= 400:
        told = answer["error"]
        raise Refused(error_code(told["code"]), told["message"], status)
    return answer


async def _ask(site: Site, member: Member, method: str, path: str, told: Any) -> tuple[int, bytes]:
    host, port = address_of(site, member)
    if not port:
        raise OSError("it answers no HTTP")
    stream: trio.abc.Stream = await trio.open_tcp_stream(host, port)
    if site.secure:
        stream = trio.SSLStream(stream, _same_certificate(site), server_hostname=host, https_compatible=True)
    body = b"" if told is None else json.dumps(told).encode()
    headers = [
        ("Host", f"{host}:{port}" if ":" not in host else f"[{host}]:{port}"),
        ("Authorization", site.token.header()),
        ("User-Agent", PEER),
        ("Connection", "close"),
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
    ]
    talk = h11.Connection(h11.CLIENT)
    sent = talk.send(h11.Request(method=method, target=path, headers=headers)) or b""
    sent += (talk.send(h11.Data(body)) or b"") if body else b""
    async with stream:
        await stream.send_all(sent + (talk.send(h11.EndOfMessage()) or b""))
        status, answer = 0, b""
        while True:
            event = talk.next_event()
            if event is h11.NEED_DATA:
                talk.receive_data(bytes(await stream.receive_some(65536)))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                answer += event.data
                if len(answer) > ANSWER_BYTES_MAX:
                    raise ValueError("the answer has no end")
            else:
                with contextlib.suppress(Exception):
                    await trio.aclose_forcefully(stream)
                return status, answer


def address_of(site: Site, member: Member) -> tuple[str, int]:
    """Where a node answers HTTP, under its own port (0: nowhere)."""
    return member.host or _here(site.settings.host), http_port_of(member)


def _here(host: str) -> str:
    """The address at which a node of this machine is reached that listens as we do."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)


def _same_certificate(site: Site) -> ssl.SSLContext:
    """Trusts whoever has our very certificate, under any name."""
    found: ssl.SSLContext | None = site.kept.get("certificate")
    if found is None:
        found = ssl.create_default_context(cafile=str(site.settings.tls_cert))
        found.check_hostname = False
        found.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        site.kept["certificate"] = found
    return found
