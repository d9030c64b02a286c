"""The replay window: each sequence number is accepted once, and nothing older than 256 numbers.

An integer holds one bit for each of the last 256 numbers; bit 0 is the highest one accepted so far::

     highest - 255                              highest
        |                                          |          a number above `highest` is always fresh
        v                                          v
     [ bit 255 | bit 254 | ... | bit 2 | bit 1 | bit 0 ]      bit set = seen

Everything is written as one subtraction, `age = highest - sequence`, so no comparison can be wrong at an
edge: a negative age is new, an age of 256 or more is too old, anything between is looked up.

`fresh` is asked *before* a packet is decrypted (replays then cost almost nothing) and `accept` is called only
*after* its tag was found good (so a forger can neither mark numbers as seen nor push the window forward). The
spirit is that of RFC 4303, section 3.4.3, and RFC 6479; a Python int replaces their ring of words.
"""

from __future__ import annotations

import attrs

WINDOW = 256
"""How many numbers at and below the highest accepted one are told apart."""
WORDS = WINDOW // 64
"""Words of 64 bits that hold as many."""

_MASK = (1 << WINDOW) - 1


@attrs.define
class ReplayWindow:
    """Which sequence numbers have been accepted. Numbers start at 1: zero and below count as seen."""

    highest: int = 0
    """The highest number accepted so far."""
    seen: int = _MASK
    """The bits."""

    def fresh(self, sequence: int) -> bool:
        """Whether `sequence` is neither seen nor too old. Changes nothing."""
        age = self.highest - sequence
        return age < 0 or (age < WINDOW and not (self.seen >> age) & 1)

    def accept(self, sequence: int) -> None:
        """Mark `sequence` as seen; call it only for a fresh number whose packet proved genuine."""
        age = self.highest - sequence
        if age >= 0:
            if age < WINDOW:
                self.seen |= 1 << age
            return
        self.seen = ((self.seen << -age) | 1) & _MASK if age > -WINDOW else 1
        self.highest = sequence
