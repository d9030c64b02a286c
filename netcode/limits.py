"""How much one address or one session may ask for: token buckets, kept as one number each.

    bucket: up to `burst` tokens, `rate` more a second     take(cost)  ─► there: taken  │  not there: refused, for free
                                                           spend(cost) ─► taken; how long until it will have been there

A bucket is kept as the time at which it will be full again (the generic cell rate algorithm, ITU-T I.371): never more
than `burst + rate · t` tokens leave it in any t seconds, and one whose time has passed is full, so that it need not be
remembered at all. That is what keeps a million spoofed addresses cheap: `Buckets` forgets full ones as newcomers come,
remembers at most `keys_max`, and *when all of those are busy, newcomers share one overflow bucket*: known addresses are
not affected.

Nothing here reads a clock: `now` is in seconds, monotonic.
"""

from __future__ import annotations

import functools
import ipaddress
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

KEYS_MAX = 16_384
"""Addresses that one table of buckets remembers: some 2 MB."""
OVERFLOW = 16
"""All newcomers to a table full of busy addresses have together what so many addresses have."""
FORGOTTEN = 2
"""Full buckets, of those not used for longest, that each newcomer has forgotten: more than come."""
LOOKED_AT = 8
"""Entries that making room looks at: a take costs the same whatever the table holds."""

_SLACK = 1 + 1e-9
"""So that rounding does not refuse the last token of a burst."""

Entry = TypeVar("Entry", bound=Hashable)


class TokenBucket:
    """`rate` tokens a second, `burst` at once. Full when made."""

    __slots__ = ("_burst_s", "_full_at", "rate")

    def __init__(self, rate: float, burst: float) -> None:
        """Raises ValueError unless both are positive."""
        _check(rate, burst)
        self.rate = rate
        self._burst_s = burst / rate * _SLACK
        self._full_at = float("-inf")

    def take(self, now: float, cost: float = 1.0) -> bool:
        """Take `cost` tokens if they are there; False, and nothing taken, otherwise."""
        full_at = max(self._full_at, now) + cost / self.rate
        if full_at > now + self._burst_s:
            return False
        self._full_at = full_at
        return True

    def spend(self, now: float, cost: float) -> float:
        """Take `cost` tokens although they may not be there; the seconds until they will have been (0: they were).

        For what cannot be refused any more, such as bytes that were read: the caller waits so long before the next.
        """
        self._full_at = max(self._full_at, now) + cost / self.rate
        return max(0.0, self._full_at - now - self._burst_s)


class Buckets:
    """A bucket for each key, such as an address; bounded memory whatever comes."""

    def __init__(self, rate: float, burst: float, keys_max: int = KEYS_MAX) -> None:
        """Raises ValueError unless `rate`, `burst` and `keys_max` are positive."""
        _check(rate, burst)
        if keys_max < 1:
            raise ValueError(f"keys_max must be at least 1, not {keys_max}")
        self._rate = rate
        self._burst_s = burst / rate * _SLACK
        self._keys_max = keys_max
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()  # the least recently used comes first
        self._overflow = TokenBucket(rate * OVERFLOW, burst * OVERFLOW)

    def __len__(self) -> int:
        """How many buckets are remembered."""
        return len(self._full_at)

    def take(self, key: Hashable, now: float, cost: float = 1.0) -> bool:
        """Take `cost` tokens from the key's bucket if they are there; False, and nothing taken, otherwise."""
        known = self._full_at.get(key)
        full_at = (now if known is None or known < now else known) + cost / self._rate
        if full_at > now + self._burst_s:
            return False
        if known is None and not self._make_room(now):
            return self._overflow.take(now, cost)
        self._keep(key, full_at)
        return True

    def fine(self, key: Hashable, now: float, cost: float) -> None:
        """Take `cost` tokens although they may not be there: the key is refused until that is made up for.

        At most one burst is owed, so nobody is shut out for longer than two bursts take to come back.
        """
        known = self._full_at.get(key)
        if known is None and not self._make_room(now):
            self._overflow.take(now, cost)
            return
        full_at = (now if known is None or known < now else known) + cost / self._rate
        self._keep(key, min(full_at, now + 2 * self._burst_s))

    def _keep(self, key: Hashable, full_at: float) -> None:
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)

    def _make_room(self, now: float) -> bool:
        """Forget full buckets among the least recently used; whether there is room for one more then."""
        full_at = self._full_at
        for _ in range(FORGOTTEN):
            oldest = next(iter(full_at), None)
            if oldest is None or full_at[oldest] > now:
                break
            del full_at[oldest]
        if len(full_at) < self._keys_max:
            return True
        for _ in range(min(LOOKED_AT, len(full_at))):
            key, until = full_at.popitem(last=False)
            if until > now:
                full_at[key] = until  # busy: to the back of the queue
        return len(full_at) < self._keys_max


class HalfOpen(Generic[Entry]):
    """Connections that have not logged in yet, oldest first; at most `entries_max`.

    When one more comes *the oldest is given up*: whoever floods the door pushes out its own silent connections, and a
    client that speaks at once is through long before its turn to be pushed out comes.
    """

    def __init__(self, entries_max: int) -> None:
        """Raises ValueError unless `entries_max` is positive."""
        if entries_max < 1:
            raise ValueError(f"entries_max must be at least 1, not {entries_max}")
        self._entries_max = entries_max
        self._entries: OrderedDict[Entry, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry) -> Entry | None:
        """Take a new connection in; returns the one that is given up for it, if any, already removed."""
        given_up = None
        if len(self._entries) >= self._entries_max:
            given_up, _ = self._entries.popitem(last=False)
        self._entries[entry] = None
        return given_up

    def settle(self, entry: Entry) -> bool:
        """The connection has logged in or is gone; False when it had been settled or given up before."""
        known = entry in self._entries
        self._entries.pop(entry, None)
        return known


@functools.lru_cache(maxsize=4096)
def address_key(host: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 that an IPv6 address lies in (RFC 6177: a site has at
    least one to itself, so single addresses of it are free to choose). IPv4 mapped into IPv6 is IPv4; what is no
    address is its own key."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    if address.is_loopback:
        return str(address)
    return str(ipaddress.IPv6Address(int(address) >> 64 << 64))


def _check(rate: float, burst: float) -> None:
    if not rate > 0 or not burst > 0:
        raise ValueError(f"rate and burst must be positive, not {rate} and {burst}")
