"""How much the tests search: `make test` what finds nearly every fault within minutes, `make test-long` more of it.

TEST_LONG=1 in the environment is the latter. What is asserted is the same in both.
"""

from __future__ import annotations

import os

LONG = os.environ.get("TEST_LONG") == "1"
LONGER = 20


def examples(usual: int) -> int:
    """How many examples Hypothesis makes: these, or in a long run so many times as many."""
    return usual * LONGER if LONG else usual


def every(step: int) -> int:
    """Which of many like cases are tried: each `step`-th, or in a long run all."""
    return 1 if LONG else step
