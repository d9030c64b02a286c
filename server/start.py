"""What a node has before it is one: its certificate, its sockets for HTTP, and its store."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from cluster.memory import MemoryWorld
from cluster.sqlite import SqliteStore
from cluster.store import Store
from netcode.certificate import CertificateUnusable, development_certificate, server_context
from server.keys import Keys
from server.listeners import HttpListeners, bind_http
from server.settings import Settings


class StartFailed(Exception):
    """The node cannot start; the message is one line with the remedy."""


def tls_context(settings: Settings) -> ssl.SSLContext:
    """With the certificate that the settings name, or one made for development. Raises StartFailed."""
    data: Path = settings.data
    try:
        data.mkdir(parents=True, exist_ok=True)
        if settings.tls_cert is None or settings.tls_key is None:
            return server_context(*development_certificate(data))
        return server_context(settings.tls_cert, settings.tls_key)
    except CertificateUnusable as error:
        raise StartFailed(str(error)) from error
    except OSError as error:
        why = error.strerror or error
        raise StartFailed(f"cannot use the data folder {data}: {why}; choose another with --data") from error


@contextlib.contextmanager
def http_listeners(settings: Settings, shared_port: int) -> Iterator[HttpListeners | None]:
    """The sockets for HTTP, until the block ends; None where there is to be none. Raises CannotListen."""
    if settings.http_port < 0:
        yield None
        return
    import server.http.serve  # noqa: F401 - a quarter of a second, before there are ticks that would wait for it

    with bind_http(settings.host, settings.http_port, shared_port) as http:
        yield http


@contextlib.asynccontextmanager
async def open_store(settings: Settings, keys: Keys) -> AsyncIterator[Store]:
    """What the nodes of a data folder share; with the journal off, what a single node keeps for itself."""
    if settings.journal == "off":
        yield MemoryWorld().store()
        return
    async with SqliteStore.open(settings.data / "cluster", settings.journal, keys.cipher) as store:
        yield store
