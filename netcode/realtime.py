"""The realtime channel without I/O: how a path is proven, and the client's end of it (the server's: `netcode.ends`).

    client                                                server
      PROBE  (padded to 1200 B)  ───────────────────────►   who is that address? answers with 35 B, never more than 3 x
      ◄───────────────────────────  CHALLENGE (token)       token = MAC(address) under a key that only this process has
      PROOF  (token)             ───────────────────────►   the address gets frames from now on
      ◄───────────────────────────  KEEPALIVE               so the client knows

A client is found by its connection id, not by its address. A genuine datagram from another address (NAT, Wi-Fi to
cellular) is used at once, but frames go on to the proven path until the new one has answered a challenge. Nothing
here reads a clock: `now` is in seconds, monotonic.

    client's path    on trial ── KEEPALIVE after our PROOF ──► proven ── nothing comes down, or nothing gets up ──► …

Both directions must work, so only the answer to a proof proves. While a path is on trial, inputs (and so frames) take
the control channel; a proven one is given up within a second when it fails in either direction (`ClientEnd.usable`).
"""

from __future__ import annotations

from netcode.acks import AckTracker
from netcode.seal import (
    CLIENT_TO_SERVER,
    PLAINTEXT_MAX,
    SERVER_TO_CLIENT,
    DatagramType,
    DropCounters,
    Opener,
    Sealer,
    Suite,
)

TOKEN_BYTES = 8
PROBE_EVERY_S = 0.1
PROBE_SLOWLY_S = 0.5
"""Between the probes of a path that has been on trial for TRIAL_S: 2.4 kB a second for as long as UDP does not pass."""
TRIAL_S = 1.0
KEEPALIVE_EVERY_S = 1.0
FALLBACK_S = 1.0
"""How long a client's first inputs wait for a path before they take the control channel."""
PATH_LOST_S = 0.8
"""A client whose input has waited so long for any datagram gives its path up: frames come at every tick."""
PATH_SILENT_S = 3.0
"""The same without inputs: only keep-alives are answered then."""
UNHEARD_S = 0.35
UNHEARD_MIN = 8
"""A client gives its path up, too, when it is told for so long (and a round trip) that nothing new got through, of so
many datagrams at least."""
_PROBE_PADDING = bytes(PLAINTEXT_MAX)
_INPUT, _FRAME = DatagramType.INPUT, DatagramType.FRAME


class ClientEnd:
    """The client's end of its session's realtime channel, and which channel its inputs take."""

    def __init__(self, connection: int, key_up: bytes, key_down: bytes, suite: Suite = Suite.AES_256_GCM) -> None:
        self.connection = connection
        self.proven = False
        """Whether the server has told that datagrams pass both ways. Ask `usable`, which also sees a path fail."""
        self.unproven_since = float("inf")
        """When the path under trial was first probed; of one that was lost, FALLBACK_S before that was noticed."""
        self.heard_at = float("-inf")
        self.acks = AckTracker()
        self.drops = DropCounters()
        self.fallbacks = 0
        """How often a path was lost, or not there in time: times that inputs moved to the control channel."""
        self.keys, self.suite = (key_up, key_down), suite
        self.opener = Opener(key_down, connection, SERVER_TO_CLIENT, suite, self.drops)
        self.sealer = Sealer(key_up, connection, CLIENT_TO_SERVER, suite)
        self.said_at = float("-inf")
        """When the last datagram went out, and the first input since one came in."""
        self.asked_at = float("inf")
        self.heard_up_at = float("-inf")
        """When the server last acknowledged something new; `unheard`: and for too long it has not."""
        self.unheard = False
        self._tried_at = float("inf")  # when the trial under way began
        self._vouched = False  # a PROOF went out in this trial
        self._blocked = False  # inputs take the control channel

    def receive(self, packet: memoryview | bytes, now: float) -> tuple[bytes | None, bytes | None]:
        """(plaintext of a frame or None, datagram to send back or None)."""
        opened = self.opener.open(packet)
        if opened is None:
            return None, None
        kind, sequence, plaintext = opened
        self.acks.received(sequence)
        self.heard_at = now
        self.asked_at = float("inf")
        if kind is _FRAME:
            return plaintext, None
        if kind is DatagramType.CHALLENGE and len(plaintext) == TOKEN_BYTES:
            self._vouched = True
            return None, self._seal(DatagramType.PROOF, plaintext, now)
        if kind is DatagramType.KEEPALIVE and self._vouched and not self.proven:
            self.proven, self._blocked, self.unheard = True, False, False
            self.heard_up_at = now
        return None, None

    def acknowledged(self, low: int, bits: int, now: float) -> None:
        """Take the acknowledgements of a frame: they move the RTT, and show whether our datagrams get through."""
        before = self.acks.newest_acked
        self.acks.acknowledged(low, bits, now)
        if self.acks.newest_acked > before:
            self.heard_up_at = now
        elif self.acks.newest_sent - before >= UNHEARD_MIN:
            patience_s = UNHEARD_S + (self.acks.rtt_ms or 0.0) / 1000.0
            self.unheard = self.unheard or now - self.heard_up_at >= patience_s

    def usable(self, now: float) -> bool:
        """Whether inputs are to go by datagram now: the path is proven and has not failed since."""
        if self.proven and (self.unheard or now - self.asked_at > PATH_LOST_S or now - self.heard_at > PATH_SILENT_S):
            self.proven, self.unproven_since = False, now - FALLBACK_S
            self._tried_at, self._vouched, self.asked_at = now, False, float("inf")
        return self.proven

    def blocked(self, now: float) -> bool:
        """Whether inputs are to take the control channel now. Neither this nor `usable`: let them wait a moment."""
        if not self.usable(now) and not self._blocked and now - self.unproven_since >= FALLBACK_S:
            self._blocked = True
            self.fallbacks += 1
        return self._blocked

    def due(self, now: float) -> bytes | None:
        """What to send when there is no input to send: a probe until the path is proven, then a keep-alive a second."""
        if self.usable(now):
            if now - self.said_at < KEEPALIVE_EVERY_S:
                return None
            return self._seal(DatagramType.KEEPALIVE, b"", now)
        if self._tried_at > now:
            self._tried_at = self.unproven_since = now
        every_s = PROBE_EVERY_S if now - self._tried_at < TRIAL_S else PROBE_SLOWLY_S
        if now - self.said_at < every_s:
            return None
        return self._seal(DatagramType.PROBE, _PROBE_PADDING, now)

    def seal_input(self, plaintext: bytes, now: float) -> bytes:
        """The datagram for one input packet."""
        self.asked_at = min(self.asked_at, now)
        return self._seal(_INPUT, plaintext, now)

    def _seal(self, kind: DatagramType, plaintext: bytes, now: float) -> bytes:
        packet = self.sealer.seal(kind, plaintext)
        self.acks.sent(self.sealer.sequence, now)
        if now - self.said_at > UNHEARD_S:  # after a pause there is nothing yet to be acknowledged
            self.heard_up_at = now
        self.said_at = now
        return packet
