"""Steering: when to make the next input, so that each arrives just before the tick that takes it.

    client   s(i)  input i is made                                   a(n)  frame of tick n comes
               \\                                                    /
    server      ╰──► arrives ·····waits····· tick n takes it ───────╯
               |<──────────────── age: a(n) - s(i) ────────────────>|

The age of an input in the frame that acknowledges it is the path, both ways, plus its wait. The path is unknown, but
every frame tells what had *arrived* by its tick: `last_seq + depth`. So each frame is one trial: had the input whose
age reaches `lead_s` arrived? If not, `lead_s` is too short: a twelfth of a tick is added. If so, it shrinks by a very
little, such that in the long run one input in 400 is late (a quantile by stochastic approximation, Robbins and Monro,
1951). At the start it shrinks fast, until the first is late. Jitter of the way up is thereby paid for with just the
margin that it needs; a lost packet looks like a late one, so the share of lost datagrams (the frames' acknowledgements
tell it) is allowed on top and never makes the lead longer: a lost packet costs one repeated tick, a longer lead all.

Ages are taken against the tick line (`netcode.timesync`), where jitter of the way down is gone. Frame n then says when
input i is best made, without waiting for any answer:

    ideal(i) = a(n) + (i - last_seq(n)) / tick_hz - lead_s

Towards it the period of inputs is between 0.9 and 1.1 ticks. An input that came too late is still taken, a tick later,
and all after it wait one tick more: then `ideal` has moved by a tick, and the clock slows until the wait is gone. With
more than three ticks too many (after a pause of the server or of the path) or a full queue inputs go at half speed,
for a second's lag would take ten to drain at 1.1.
"""

from __future__ import annotations

import math

from netcode.inputs import QUEUED_MAX, UNACKED_MAX
from netcode.timesync import TickClock

FASTEST, SLOWEST = 0.9, 1.1
"""Period of inputs in ticks, in the steady state."""
FAR_TICKS, HALVED = 3.0, 2.0
"""So many ticks too many wait: the period doubles."""
LATE_SHARE = 1 / 400
STEP_TICKS = 1 / 12
"""What a late input adds to the lead."""
STEP_MIN_S = 0.001
NEAR_TICKS = 1 / 8
"""An input that came in time says something of the lead only if it was not much older."""
DESCENT_TICKS = 1 / 10
"""How fast the lead shrinks at the start: as fast as inputs can follow."""
OUTAGE = 12
"""So many late in a row are no jitter: the path is gone, or another one. What was learnt is learnt anew."""
_ACK_SETTLED = 8
"""The newest bits of an acknowledgement may be datagrams that are only overtaken."""
_LOSS_GAIN = 1 / 16


class Steering:
    """The input clock of one seat. Times are seconds of the caller's monotonic clock."""

    def __init__(self, clock: TickClock, last_seq: int) -> None:
        self.lead_s: float | None = None
        """The age that an input shall have in the frame that acknowledges it; None: nothing has arrived yet."""
        self.loss = 0.0
        """Share of our datagrams that are lost, 0..1."""
        self._clock = clock
        self._period_s = 1.0 / clock.tick_hz
        self._near_s = NEAR_TICKS * self._period_s
        self._step_s = max(STEP_TICKS * self._period_s, STEP_MIN_S)
        self._newest = self._arrived = last_seq
        self._made_at = [-math.inf] * UNACKED_MAX
        self._base: float | None = None
        self._learn_anew()

    def made(self, seq: int, now: float) -> None:
        """Input `seq` was made and sent."""
        self._newest = seq
        self._made_at[seq % UNACKED_MAX] = now

    def made_at(self, seq: int) -> float:
        """When one of the last 32 inputs was made."""
        return self._made_at[seq % UNACKED_MAX]

    def frame(self, tick: int, last_seq: int, depth: int, now: float) -> None:
        """A frame newer than all before; the clock has been told of it already."""
        arrival = self._clock.arrival_of(tick)
        self._base = arrival - last_seq * self._period_s
        arrived = last_seq + depth
        self._queue_full = depth >= QUEUED_MAX - 1
        if now - arrival > self._period_s or self._queue_full or not self._newest - UNACKED_MAX < arrived:
            return  # the tick was late, or the queue could not take what arrived: that tells nothing of the path
        age = arrival - self._made_at[arrived % UNACKED_MAX]
        if arrived < self._newest:
            missing_age = arrival - self._made_at[(arrived + 1) % UNACKED_MAX]
        else:  # the next is not even made; at its pace it would be this old
            missing_age = min(age - self._period_s, 0.0)
        news, self._arrived = arrived > self._arrived, arrived
        if self.lead_s is None:
            self.lead_s = age if news and age < math.inf else None
        elif missing_age > self.lead_s - self._near_s:
            self._was_late()
        elif age < self.lead_s + self._near_s:
            self._was_in_time(age)

    def acknowledged(self, ack: tuple[int, int]) -> None:
        """What a frame says of our datagrams (see `netcode.acks`)."""
        highest, bits = ack
        if highest > 32:  # before that there were not so many; after a wrap the next one tells
            settled = 32 - _ACK_SETTLED
            self.loss += (1.0 - (bits >> _ACK_SETTLED).bit_count() / settled - self.loss) * _LOSS_GAIN

    @property
    def period_s(self) -> float:
        """Seconds from the newest input to the next."""
        period_s = self._period_s
        if self._queue_full:
            return HALVED * period_s
        made_at = self._made_at[self._newest % UNACKED_MAX]
        if self._base is None or self.lead_s is None or made_at == -math.inf:
            return period_s
        ticks = (self._base + (self._newest + 1) * period_s - self.lead_s - made_at) / period_s
        if ticks > 1.0 + FAR_TICKS:
            return HALVED * period_s
        return min(max(ticks, FASTEST), SLOWEST) * period_s

    @property
    def due_at(self) -> float:
        """When the next input is to be made; -inf: at once."""
        return self._made_at[self._newest % UNACKED_MAX] + self.period_s

    def restart(self, last_seq: int) -> None:
        """Another connection or another owner of the room: keep when inputs were made, learn the path anew."""
        self._newest = max(self._newest, last_seq)
        self._learn_anew()

    def _learn_anew(self) -> None:
        self.lead_s = self._base = None
        self._queue_full = False
        self._in_time = self._late = 0  # the late ones in a row, those in time since the last late one
        self._descending, self._least_s = True, math.inf

    def _was_late(self) -> None:
        assert self.lead_s is not None
        self._in_time = 0
        self._late += 1
        if self._late >= OUTAGE:
            self._learn_anew()
        elif self._descending:
            self._descending = False
            self.lead_s = max(self.lead_s, min(self._least_s, self.lead_s + 3.0 * self._step_s))
        else:
            self.lead_s += self._step_s * (1.0 - self._share)

    def _was_in_time(self, age: float) -> None:
        assert self.lead_s is not None
        self._late = 0
        self._in_time += 1
        if self._descending:
            self._least_s = min(self._least_s, age)
            self.lead_s = max(0.0, self._least_s - DESCENT_TICKS * self._period_s)
        else:
            calm = max(1.0, self._in_time * self._share)  # calmer than it should be: shrink faster and faster
            self.lead_s = max(0.0, self.lead_s - self._step_s * self._share * calm * calm)

    @property
    def _share(self) -> float:
        """Share of inputs that may seem late."""
        return LATE_SHARE + min(self.loss, 0.5)
