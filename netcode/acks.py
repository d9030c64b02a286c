"""Acknowledgements: which of our datagrams arrived, and what that says about the path.

Every datagram carries the highest sequence its sender has received and one bit for each of the 32 before it::

     ack (u16, low bits of `highest`)       bits (u32): bit i = `highest - 1 - i` arrived, too
     [highest] [highest-1 | highest-2 | ... | highest-32]
                  bit 0       bit 1             bit 31

So each arrival is told up to 33 times, and a lost acknowledgement costs nothing (Gaffer on Games,
"Reliability and Congestion Avoidance over UDP"). A datagram of ours is *lost* when 32 later ones were passed
over it: its bit leaves the window unset. It may still arrive; nobody waits for it.

Bounded by construction: two integers for what came in, one integer and a ring of `TIMES_MAX` send times for
what went out. A time that was overwritten before its acknowledgement came gives no RTT sample, nothing else
is lost with it.
"""

from __future__ import annotations

from array import array

from netcode.sequence import widen

ACK_BITS = 32
"""How many datagrams before the highest one an acknowledgement speaks of."""
TIMES_MAX = 256
"""How many send times are kept: 12.8 s at 20 datagrams a second, 2 s at 128. A power of two."""

_WINDOW = (1 << (ACK_BITS + 1)) - 1
_TIMES_MASK = TIMES_MAX - 1
_SRTT_GAIN = 1 / 8
_RTTVAR_GAIN = 1 / 4
_JITTER_GAIN = 1 / 16
_LOSS_GAIN = 1 / 128


class AckTracker:
    """One end's acknowledgement state for one connection (under one key: sequences count from 1)."""

    __slots__ = (
        "_acked",
        "_last_rtt_ms",
        "_received",
        "delivered",
        "highest_received",
        "jitter_ms",
        "loss",
        "lost",
        "newest_acked",
        "newest_sent",
        "rtt_ms",
        "rttvar_ms",
        "times",
    )

    def __init__(self) -> None:
        self.highest_received = 0
        """The highest sequence that came in; 0 before the first."""
        self.newest_sent = 0
        """The last sequence that went out."""
        self.newest_acked = 0
        """The highest sequence of ours that the peer has acknowledged."""
        self.rtt_ms: float | None = None
        """Smoothed round-trip time (RFC 6298), the peer's wait until its next datagram included; None at
        first."""
        self.rttvar_ms = 0.0
        """Smoothed deviation of the round-trip time (RFC 6298)."""
        self.jitter_ms = 0.0
        """Smoothed difference of neighbouring round-trip times (gain 1/16, as RFC 3550 does for arrivals)."""
        self.loss = 0.0
        """Smoothed share of our datagrams that were lost, 0 to 1 (gain 1/128 a datagram)."""
        self.delivered = 0
        """Datagrams of ours that were acknowledged."""
        self.lost = 0
        """Datagrams of ours that left the window unacknowledged."""
        self.times = array("d", bytes(8 * TIMES_MAX))
        """When the last TIMES_MAX datagrams went out, by sequence modulo TIMES_MAX."""
        self._received = 0  # bit i = `highest_received - i` came in
        self._acked = _WINDOW  # bit i = `newest_acked - i` is acknowledged; nothing below 1 is ever awaited
        self._last_rtt_ms: float | None = None

    def received(self, sequence: int) -> None:
        """A genuine datagram with this whole sequence number came in (in any order)."""
        ahead = sequence - self.highest_received
        if ahead > 0:
            self._received = (self._received << ahead | 1) & _WINDOW
            self.highest_received = sequence
        elif ahead >= -ACK_BITS:
            self._received |= 1 << -ahead

    @property
    def ack(self) -> tuple[int, int]:
        """What to put into the next datagram: low 16 bits of the highest sequence received, and the 32
        bits."""
        return self.highest_received & 0xFFFF, self._received >> 1

    def restore(
        self, highest_received: int, bits: int, newest_sent: int, newest_acked: int, rtt_ms: float | None
    ) -> None:
        """Go on from what was done elsewhere: `ack` as it was told there, what was sent, what the peer has acknowledged
        (none of that counts as lost), and the smoothed round trip."""
        self.highest_received, self._received = highest_received, bits << 1 | (highest_received > 0)
        self.newest_sent, self.newest_acked, self._acked = newest_sent, newest_acked, _WINDOW
        self.rtt_ms = self._last_rtt_ms = rtt_ms

    def sent(self, sequence: int, now: float) -> None:
        """The datagram with this whole sequence number leaves at `now` (seconds, monotonic); every one, in
        order."""
        assert sequence == self.newest_sent + 1, f"sent {sequence} after {self.newest_sent}"
        self.newest_sent = sequence
        self.times[sequence & _TIMES_MASK] = now

    def acknowledged(self, low: int, bits: int, now: float) -> int:
        """Take the peer's `ack` pair at `now`; returns how many of our datagrams it newly acknowledges.

        One that is older than the window, or speaks of a datagram that was never sent, changes nothing. Only
        an acknowledgement that moves `newest_acked` gives an RTT sample: one that came late would count its
        delay twice.
        """
        highest = widen(low, 16, self.newest_sent)
        ahead = highest - self.newest_acked
        if highest > self.newest_sent or ahead < -ACK_BITS:
            return 0
        told = (bits << 1 | 1) & _WINDOW
        acked = self._acked
        if ahead > 0:
            self._settle(acked << ahead, ahead)
            acked = acked << ahead & _WINDOW
            self.newest_acked = highest
            if self.newest_sent - highest < TIMES_MAX:
                self._sample((now - self.times[highest & _TIMES_MASK]) * 1000.0)
        else:
            told = told << -ahead & _WINDOW
        newly = (told & ~acked).bit_count()
        self._acked = acked | told
        self.delivered += newly
        return newly

    def _settle(self, shifted: int, count: int) -> None:
        """The oldest `count` numbers leave the window (they are above its top bit now): lost if still
        unset."""
        lost = count - (shifted >> (ACK_BITS + 1)).bit_count()
        if lost or self.loss:
            self.lost += lost
            self.loss += (lost / count - self.loss) * min(1.0, count * _LOSS_GAIN)

    def _sample(self, rtt_ms: float) -> None:
        """Smooth one round-trip time in (RFC 6298, section 2)."""
        if self.rtt_ms is None or self._last_rtt_ms is None:
            self.rtt_ms = rtt_ms
            self.rttvar_ms = rtt_ms / 2
        else:
            self.rttvar_ms += (abs(self.rtt_ms - rtt_ms) - self.rttvar_ms) * _RTTVAR_GAIN
            self.rtt_ms += (rtt_ms - self.rtt_ms) * _SRTT_GAIN
            self.jitter_ms += (abs(rtt_ms - self._last_rtt_ms) - self.jitter_ms) * _JITTER_GAIN
        self._last_rtt_ms = rtt_ms
