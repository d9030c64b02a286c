"""The guard: what every request has to pass before it is looked at, and what every answer carries.

    Host    names us: an IP address, localhost, or a name that we were given        else: DNS rebinding       421
    Origin  is ours, where a browser tells one; the same of Sec-Fetch-Site          else: another page's      403
    rate    of the address                                                          else: LIMITED             429
    token   from this machine, or over TLS: it is not to be read on the way         else: NOT_ALLOWED         403

A browser tells the origin of whatever might change something, so a page of somebody else's can make it ask, and gets
nothing done; nor can it read an answer, for none allows it to (no CORS).
"""

from __future__ import annotations

import ipaddress
import re

import trio
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from netcode.certificate import is_loopback
from netcode.errors import ErrorCode, ProtocolError
from netcode.limits import Buckets, address_key
from server.http.errors import Refused, error_response
from server.http.routes import Access
from server.http.site import Site
from server.http.turns import Turns

REQUESTS_PER_S, REQUESTS_BURST = 50.0, 200.0
"""Of an address."""
WRONG_TOKENS_PER_S, WRONG_TOKENS_BURST = 1.0, 20.0
"""Of an address; beyond that it hears LIMITED."""
FORWARDED = {"forwarded", "x-forwarded-for", "x-real-ip", "via"}
"""Who shows one of these is a proxy on our machine that speaks for somebody who need not be here."""
HSTS = "max-age=31536000"

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[0-9a-zA-Z._-]+)(:[0-9]{1,5})?")


class Guard:
    """The outermost ASGI app."""

    def __init__(self, app: ASGIApp, site: Site, turns: Turns) -> None:
        self._app = app
        self._turns = turns
        self._site = site
        self._requests = Buckets(REQUESTS_PER_S, REQUESTS_BURST)
        names = [site.settings.advertise, *site.settings.http_names.split(",")]
        self._names = {"localhost", *(name.strip().lower() for name in names if name.strip())}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add_headers(message, request)
            await send(message)

        async with self._turns.turn():
            try:
                self._check(request)
            except ProtocolError as error:
                await error_response(error)(scope, receive, answer)
            else:
                await self._app(scope, receive, answer)

    def _check(self, request: Request) -> None:
        if hostname(request.headers) is None or not self._is_ours(hostname(request.headers) or ""):
            raise Refused(ErrorCode.NOT_ALLOWED, "this server is not known by that Host; see --http-names", 421)
        origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "none")
        foreign = origin is not None and origin.lower() != self._own_origin(request)
        if foreign or (site == "cross-site" and request.method not in ("GET", "HEAD")):
            raise ProtocolError(ErrorCode.NOT_ALLOWED, "a page of another origin asks this")
        peer = peer_of(request)
        exempt = is_loopback(peer) and not self._site.settings.limit_loopback
        if not exempt and not self._requests.take(address_key(peer), trio.current_time()):
            raise ProtocolError(ErrorCode.LIMITED, "too many requests from your address; wait a moment")

    def _own_origin(self, request: Request) -> str:
        scheme = "https" if self._site.secure else "http"
        host = request.headers.get("host", "").lower()
        forwarded = request.headers.get("x-forwarded-proto", "")
        if forwarded == "https" and is_loopback(peer_of(request)):  # a proxy of this machine's ends TLS
            scheme = "https"
        return f"{scheme}://{host}"

    def _is_ours(self, name: str) -> bool:
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return name in self._names
        return True

    def _add_headers(self, message: Message, request: Request) -> None:
        headers = MutableHeaders(scope=message)
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
        headers["Cross-Origin-Resource-Policy"] = "same-origin"
        headers["Content-Security-Policy"] = self._policy(request)
        headers.setdefault("Cache-Control", "no-store")
        if self._site.secure:
            headers["Strict-Transport-Security"] = HSTS

    def _policy(self, request: Request) -> str:
        """Nothing but our own files; and our nodes' ports, which change, for the game."""
        name = hostname(request.headers) or ""
        known = self._is_ours(name) and not name.startswith("[")
        hosts = {name, *(member.host for member in self._site.tenure.present() if member.host)} if known else set()
        links = " ".join(f"ws://{host}:* wss://{host}:*" for host in sorted(hosts)) or "ws: wss:"
        return (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' "
            f"data: blob:; font-src 'self'; manifest-src 'self'; worker-src 'self'; connect-src 'self' {links}; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )


class Doorkeeper:
    """Who may have what: by the token, by where the peer is."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._wrong = Buckets(WRONG_TOKENS_PER_S, WRONG_TOKENS_BURST)

    def let_in(self, request: Request, access: Access) -> bool:
        """Let a request through; whether it comes from this machine. Raises ProtocolError."""
        peer = peer_of(request)
        machine = is_loopback(peer)
        local = machine and not FORWARDED.intersection(request.headers.keys())
        shown = request.headers.get("authorization", "")
        if access is Access.EVERYBODY or (access is Access.MACHINE and local and not shown):
            return local
        if not (machine or self._site.secure):
            raise ProtocolError(
                ErrorCode.NOT_ALLOWED, "over plain HTTP this is answered on the server's own machine only"
            )
        if self._site.token.is_shown(shown):
            return local
        exempt = machine and not self._site.settings.limit_loopback
        if not exempt and not self._wrong.take(address_key(peer), trio.current_time()):
            raise ProtocolError(ErrorCode.LIMITED, "too many wrong tokens from your address; wait a moment")
        raise ProtocolError(ErrorCode.BAD_LOGIN, "this takes the token of the data folder: Authorization: Bearer …")


def hostname(headers: Headers) -> str | None:
    """The name in the Host header; None where that is none."""
    hosts = headers.getlist("host")
    found = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    return None if found is None else found[1].lower()


def peer_of(request: Request) -> str:
    """The peer's address."""
    return "" if request.client is None else request.client.host
