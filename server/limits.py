"""What this node lets an address and a session ask for, and what happens to what is beyond it.

| who: what | limit | beyond it |
|---|---|---|
| address: new connections | `connects_per_s`, ten seconds' worth at once | closed before TLS |
| address: connections at once | `connections_per_address` | closed before TLS |
| address: log-ins and resumes (new guest 5, wrong secret 10) | `logins_per_s`, ten seconds' worth | refused: LIMITED |
| session: requests | 20 a second, 40 at once | refused: LIMITED |
| session: refusals of these | 100 a second, 2,000 at once | not read from for a while |
| session: bytes of the control channel | 64 KiB a second, 256 KiB at once | not read from for a while |
| session: realtime packets (`netcode.ends`) | 160 a second and at once; 128 KiB a second, 256 KiB at once | dropped |

Whoever is not read from is told nothing: TCP slows the peer down by itself. Loopback is exempt from what counts by
address unless `limit_loopback` is set. Of datagrams for no session nothing is kept: they cost a look into a table and
are counted. Whatever is refused is counted in `LimitCounters`, packets in `netcode.seal.DropCounters`.
"""

from __future__ import annotations

import attrs

from netcode.certificate import is_loopback
from netcode.limits import Buckets, TokenBucket, address_key
from server.settings import Settings

BURST_S = 10.0
"""An address may ask at once for what it may ask for in so long: a whole class comes in by one address."""
NEW_GUEST_COST = 5.0
"""A new guest is written to the profile store for good."""
FAILED_COST = 10.0
"""A wrong secret: so guessing is ten times as slow as logging in."""
REQUESTS_PER_S, REQUESTS_BURST = 20.0, 40.0
REFUSALS_PER_S, REFUSALS_BURST = 100.0, 2000.0
CONTROL_BYTES_PER_S, CONTROL_BYTES_BURST = 65_536.0, 262_144.0
PAUSE_MAX_S = 5.0
"""A pause in reading is no longer than this, so that a link which ends is noticed; what is left is part of the next."""


@attrs.define
class LimitCounters:
    """What was refused, by reason."""

    connects: int = 0
    """Connections beyond the rate of their address."""
    connections: int = 0
    """Connections beyond the number that an address may have at once."""
    half_open: int = 0
    """Connections that had not logged in and were given up for newer ones."""
    logins: int = 0
    """Log-ins and resumes beyond the rate of their address."""
    failed_logins: int = 0
    """Log-ins and resumes with a wrong secret."""
    requests: int = 0
    """Requests beyond the rate of their session."""
    pauses: int = 0
    """Requests and reads after which a session was not read from for a while."""
    upgrades: int = 0
    """Requests to open a WebSocket that were refused."""


class Limits:
    """The limits of one node. `host` is an IP address as text, `now` in seconds, monotonic."""

    def __init__(self, settings: Settings, counters: LimitCounters | None = None) -> None:
        self.counters = LimitCounters() if counters is None else counters
        self._loopback = settings.limit_loopback
        self._connections_max = settings.connections_per_address
        self._connections: dict[str, int] = {}
        self._connects = Buckets(settings.connects_per_s, settings.connects_per_s * BURST_S)
        self._logins = Buckets(settings.logins_per_s, max(settings.logins_per_s * BURST_S, FAILED_COST))

    def may_connect(self, host: str, now: float) -> bool:
        """Whether an address may have one more connection. Who was let in is told by `connected`."""
        key = self._key(host)
        if key is None:
            return True
        if self._connections.get(key, 0) >= self._connections_max:
            self.counters.connections += 1
            return False
        if not self._connects.take(key, now):
            self.counters.connects += 1
            return False
        return True

    def connected(self, host: str) -> None:
        """A connection of this address is there now."""
        key = self._key(host)
        if key is not None:
            self._connections[key] = self._connections.get(key, 0) + 1

    def disconnected(self, host: str) -> None:
        """It has ended: once for each `connected`."""
        key = self._key(host)
        if key is not None:
            left = self._connections.get(key, 0) - 1
            if left > 0:
                self._connections[key] = left
            else:
                self._connections.pop(key, None)

    def may_log_in(self, host: str, now: float) -> bool:
        """Whether an address may try to log in, or to resume, once more."""
        key = self._key(host)
        if key is None or self._logins.take(key, now):
            return True
        self.counters.logins += 1
        return False

    def new_guest(self, host: str, now: float) -> None:
        """That log-in has made an account."""
        self._fine(host, now, NEW_GUEST_COST - 1.0)

    def failed_log_in(self, host: str, now: float) -> None:
        """That log-in, or resume, had a wrong secret."""
        self.counters.failed_logins += 1
        self._fine(host, now, FAILED_COST - 1.0)

    def session(self) -> SessionBudget:
        """The budget of a new session."""
        return SessionBudget(self.counters)

    def _fine(self, host: str, now: float, cost: float) -> None:
        key = self._key(host)
        if key is not None:
            self._logins.fine(key, now, cost)

    def _key(self, host: str) -> str | None:
        """What counts as this address; None: it is exempt. An empty host has hung up before anybody looked."""
        key = address_key(host)
        return None if not host or (not self._loopback and is_loopback(key)) else key


class SessionBudget:
    """What one session may still ask for. It outlives the session's connections: a resume brings no new one."""

    __slots__ = ("_bytes", "_counters", "_refusals", "_requests")

    def __init__(self, counters: LimitCounters) -> None:
        self._counters = counters
        self._requests = TokenBucket(REQUESTS_PER_S, REQUESTS_BURST)
        self._refusals = TokenBucket(REFUSALS_PER_S, REFUSALS_BURST)
        self._bytes = TokenBucket(CONTROL_BYTES_PER_S, CONTROL_BYTES_BURST)

    def take_bytes(self, count: int, now: float) -> float:
        """So many bytes of the control channel were read; the seconds to wait before more are (mostly 0)."""
        return self._pause(self._bytes.spend(now, count))

    def take_message(self, now: float) -> bool:
        """Whether one more request is answered; otherwise it is to be refused (LIMITED), and `take_refusal` told."""
        if self._requests.take(now):
            return True
        self._counters.requests += 1
        return False

    def take_refusal(self, now: float) -> float:
        """A request was refused, which costs nearly as much; the seconds to wait before the next is read."""
        return self._pause(self._refusals.spend(now, 1.0))

    def _pause(self, wait_s: float) -> float:
        if wait_s <= 0.0:
            return 0.0
        self._counters.pauses += 1
        return min(wait_s, PAUSE_MAX_S)
