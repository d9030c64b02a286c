"""Leases: whether we may run rooms, and whether the others still do. No I/O; `now` is seconds, monotonic, our own.

    ours      sent ─► renewed ──► held until (time of sending) + TTL * (1 - MARGIN) ──► not held ─► renewed ─► held …
                                                                       sealed: never again
    theirs    counter rises ─► lives ── it stands still for a TTL of our clock ─► lapsed ─► (counter rises) lives

A lapsed lease gives nobody a right: a lapsed node is sealed before its rooms are touched. It is a reason to look. While
the store is away, or we were stopped ourselves, every counter stands still for us, so that time does not count: nobody
is judged before the store has been healthy, and we have been looking, for a TTL. That it can be read is not enough, for
on a full disk nobody renews: it is healthy while it takes our own renewals.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from cluster.model import Member

LEASE_TTL_S = 2.0
RENEW_EVERY_S = 0.5
MARGIN = 0.25
"""Part of the TTL that we give up, so that we stop before others may think so."""
GAP_MAX_S = LEASE_TTL_S / 2
"""Between two looks, and two renewals of ours; what is longer was a pause of ours or of the store, and tells nothing of
the others. A renewal is due every RENEW_EVERY_S, so a store that takes no more writes is noticed well within a TTL."""


class OwnLease:
    """Our own lease."""

    def __init__(self) -> None:
        self.until = float("-inf")
        """When it runs out, by our clock."""
        self.counter = 0
        self.sealed = False

    def sent(self, now: float) -> float:
        """A renewal is being sent: `counter` is what it writes; what is returned goes to `renewed`."""
        self.counter += 1
        return now

    def renewed(self, sent: float) -> None:
        """The renewal that was sent then has succeeded. Answers out of order never shorten the lease."""
        self.until = max(self.until, sent + LEASE_TTL_S * (1.0 - MARGIN))

    def held(self, now: float) -> bool:
        """Whether we may run rooms."""
        return not self.sealed and now < self.until


@attrs.define
class _Seen:
    counter: int
    still_s: float = 0.0
    """For how long of our looking the counter has not changed."""


class LeaseWatch:
    """What we make of the others' leases."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._seen: dict[str, _Seen] = {}
        self._sealed: set[str] = set()
        self._looked_at: float | None = None
        self._wrote_at = float("-inf")
        self._healthy_s = 0.0

    def wrote(self, sent: float) -> None:
        """The store has taken a renewal of ours that was sent then."""
        self._wrote_at = max(self._wrote_at, sent)

    def observe(self, members: Iterable[Member], now: float) -> None:
        """The store has been read, and these are all incarnations."""
        passed = 0.0 if self._looked_at is None else now - self._looked_at
        healthy = now - self._wrote_at <= GAP_MAX_S
        if passed > GAP_MAX_S or not healthy:
            self.failed(now)
            passed = 0.0
        self._healthy_s += passed
        self._looked_at = now if healthy else None
        before, self._seen, self._sealed = self._seen, {}, set()
        for member in members:
            if member.sealed:
                self._sealed.add(member.incarnation)
                continue
            seen = before.get(member.incarnation)
            if seen is None or seen.counter != member.counter:
                seen = _Seen(member.counter)
            else:
                seen.still_s += passed
            self._seen[member.incarnation] = seen

    def failed(self, now: float) -> None:
        """The store could not be read: what was seen so far counts for nothing."""
        self._looked_at, self._healthy_s = None, 0.0
        for seen in self._seen.values():
            seen.still_s = 0.0

    def lapsed(self, now: float) -> list[str]:
        """Incarnations whose leases have run out, as far as we can tell."""
        if self._healthy_s < LEASE_TTL_S or self._looked_at is None or now - self._looked_at > GAP_MAX_S:
            return []
        return [name for name, seen in self._seen.items() if name != self._me and seen.still_s >= LEASE_TTL_S]

    def present(self, now: float) -> list[str]:
        """Incarnations that may be taken to live: neither sealed nor lapsed."""
        lapsed = set(self.lapsed(now))
        return [name for name in self._seen if name not in lapsed]
