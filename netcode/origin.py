"""Which WebSockets a server takes: from which pages, under which name, and whether without TLS.

A browser lets any page open a WebSocket to any server, and tells in `Origin` whose page it is. A page may also be
served under a name that its owner lets point to this machine (DNS rebinding): then `Origin` and `Host` agree, and both
are foreign. So without TLS a server answers to addresses, to localhost and to names that it was told; with TLS the
certificate has settled the name. Clients that are no browsers send no `Origin`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable

import attrs

ANY = "*"
Fault = tuple[int, str]
"""HTTP status, and why."""


def _origins(value: str | Iterable[str]) -> frozenset[str]:
    words = value.split(",") if isinstance(value, str) else value
    return frozenset(word.strip().rstrip("/").lower() for word in words if word.strip())


@attrs.frozen
class UpgradePolicy:
    """What a server takes."""

    origins: frozenset[str] = attrs.field(default="", converter=_origins)
    """Origins of pages that may play here besides those of the server's own host (any port): "https://example.com",
    with commas between; "*" for all."""
    name: str = ""
    """A name of the server, besides addresses and localhost."""
    plain: bool = False
    """Whether a WebSocket without TLS is taken from other machines, too."""

    def fault(self, get_all: Callable[[str], list[str]], *, secure: bool, local: bool) -> Fault | None:
        """What is wrong with a request whose headers `get_all` gives by name; None for nothing.

        `secure`: it came through TLS; `local`: from this machine.
        """
        hosts, origins = get_all("Host"), get_all("Origin")
        host = host_of(hosts[0]) if len(hosts) == 1 else ""
        if not host or len(origins) > 1:
            return 400, "one Host is needed, and no more than one Origin"
        if not (secure or local or self.plain):
            return 403, "without TLS only this machine is served; use wss"
        if not (secure or ANY in self.origins or self._is_ours(host)):
            return 421, f"this server is not {host}"
        if origins and not self._allows(origins[0].lower(), host):
            return 403, f"pages of {origins[0]} may not play here"
        return None

    def _is_ours(self, host: str) -> bool:
        if host == "localhost" or host.endswith(".localhost") or host == self.name.lower():
            return True
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return any(host_of(origin.partition("://")[2]) == host for origin in self.origins)
        return True

    def _allows(self, origin: str, host: str) -> bool:
        if ANY in self.origins or origin in self.origins:
            return True
        return host_of(origin.partition("://")[2]) == host


def host_of(authority: str) -> str:
    """The host of "host:port", "host" or "[v6]:port", in lower case; "" where it is none of these."""
    host, colon, port = authority.lower().rpartition(":")
    if not colon or authority.endswith("]"):
        host, port = authority.lower(), "0"
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return ""
    good = port.isascii() and port.isdigit() and host and not set(host) & set(" \t/\\@?#%[],")
    return host.rstrip(".") if good else ""
