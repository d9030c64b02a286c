"""HTTP of a node, from its sockets to its app: the one thing that `server.node` starts."""

from __future__ import annotations

import ssl

from server.http.app import make_app
from server.http.connections import HttpServer
from server.http.site import Site
from server.http.turns import Turns
from server.limits import Limits
from server.listeners import HttpListeners


async def serve_http(site: Site, listeners: HttpListeners, tls: ssl.SSLContext) -> None:
    """Answer until cancelled."""
    turns = Turns()
    server = HttpServer(make_app(site, turns), turns, Limits(site.settings), tls if site.secure else None)
    site.connections = lambda: server.connections
    await server.run(listeners.streams)
