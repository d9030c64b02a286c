"""Faults that a test puts into a store: which operation, which of the ways a real one fails, how often.

    busy      StoreBusy, nothing was written           (operations that write; the others pass it by)
    lost      StoreUnavailable, nothing was written
    unknown   StoreUnavailable, and yet it was written
    delay     so many seconds later, or the answer is
    hang      never; until it is cancelled, before anything is written or after it

Operations are named as in `cluster.store`: "rooms.claim", "journals.append" (which is `append_now`, too), and patterns
such as "journals.*" match several. Every operation meets the rules in the order of their making: it waits for each
delay that matches and takes the first failure that does. A rule with `times` is gone after as many.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from enum import Enum
from fnmatch import fnmatchcase
from functools import wraps
from math import inf
from typing import Any, Concatenate, ParamSpec, TypeVar

import attrs
import trio

from cluster.errors import StoreBusy, StoreUnavailable


class Fault(Enum):
    """What befalls an operation."""

    BUSY = "busy"
    LOST = "lost"
    UNKNOWN = "unknown"
    DELAY = "delay"
    DELAY_AFTER = "delay after"
    HANG = "hang"
    HANG_AFTER = "hang after"


_WAITS = {Fault.DELAY, Fault.DELAY_AFTER, Fault.HANG, Fault.HANG_AFTER}


@attrs.define(eq=False)
class Rule:
    """One fault, as often as it is to happen."""

    operation: str
    fault: Fault
    times: float
    delay_s: float = 0.0
    met: int = 0
    """How often it has happened."""

    def fits(self, operation: str, writes: bool, waits: bool) -> bool:
        """Whether the operation meets it: one that does not await cannot wait, one that reads is never busy."""
        if self.met >= self.times or not fnmatchcase(operation, self.operation):
            return False
        return (writes or self.fault is not Fault.BUSY) and (waits or self.fault not in _WAITS)


@attrs.define(eq=False)
class Faults:
    """The rules of one handle, or of a world."""

    rules: list[Rule] = attrs.field(factory=list)

    def busy(self, operation: str, times: float = 1) -> Rule:
        """The next `times` raise StoreBusy."""
        return self._add(Rule(operation, Fault.BUSY, times))

    def lost(self, operation: str, times: float = 1) -> Rule:
        """The next `times` raise StoreUnavailable and write nothing."""
        return self._add(Rule(operation, Fault.LOST, times))

    def unknown(self, operation: str, times: float = 1) -> Rule:
        """The next `times` are done, and raise StoreUnavailable all the same."""
        return self._add(Rule(operation, Fault.UNKNOWN, times))

    def delay(self, operation: str, delay_s: float, times: float = 1, after: bool = False) -> Rule:
        """The next `times` begin so much later; with `after` they are done at once, and their answer takes so long."""
        return self._add(Rule(operation, Fault.DELAY_AFTER if after else Fault.DELAY, times, delay_s))

    def hang(self, operation: str, times: float = 1, after: bool = False) -> Rule:
        """The next `times` never return; with `after` they are done before they hang."""
        return self._add(Rule(operation, Fault.HANG_AFTER if after else Fault.HANG, times))

    def away(self) -> Rule:
        """From now on everything raises StoreUnavailable, before all other rules; `back` ends it."""
        rule = Rule("*", Fault.LOST, inf)
        self.rules.insert(0, rule)
        return rule

    def back(self) -> None:
        """No faults any more."""
        self.rules.clear()

    def _add(self, rule: Rule) -> Rule:
        self.rules.append(rule)
        return rule


class Handle:
    """What a node holds of a store: every operation passes through it, and meets the faults on the way."""

    def __init__(self, faults: tuple[Faults, ...]) -> None:
        self._faults = faults
        self.closed = False

    async def aclose(self) -> None:
        """Let go: every later operation raises StoreUnavailable. Done even when it is cancelled."""
        self.closed = True
        await trio.lowlevel.checkpoint()

    async def do(self, operation: str, act: Callable[[], T], writes: bool) -> T:
        """Do something in one go, with the faults that befall it. Cancelled before that it has written nothing."""
        await trio.lowlevel.checkpoint()
        after, late_s = None, 0.0
        for rule in self._met(operation, writes, waits=True):
            match rule.fault:
                case Fault.DELAY:
                    await trio.sleep(rule.delay_s)
                case Fault.DELAY_AFTER:
                    late_s += rule.delay_s
                case Fault.HANG:
                    await trio.sleep_forever()
                case _:
                    after = self._refused(operation, rule)
                    break
        self._check_open(operation)
        done = act()
        if late_s:
            await trio.sleep(late_s)
        if after is Fault.HANG_AFTER:
            await trio.sleep_forever()
        self._answered(operation, after)
        return done

    def write_now(self, operation: str, act: Callable[[], None]) -> None:
        """The same without awaiting, for what writes: faults that wait pass it by."""
        rule = next(self._met(operation, writes=True, waits=False), None)
        after = None if rule is None else self._refused(operation, rule)
        self._check_open(operation)
        act()
        self._answered(operation, after)

    def _met(self, operation: str, writes: bool, waits: bool) -> Iterator[Rule]:
        """The rules that it meets, one by one, each counted; those made or ended while it waits count as well."""
        seen: list[Rule] = []
        while fitting := [r for r in self._rules() if r not in seen and r.fits(operation, writes, waits)]:
            seen.append(fitting[0])
            fitting[0].met += 1
            yield fitting[0]

    def _rules(self) -> Iterator[Rule]:
        return (rule for faults in self._faults for rule in faults.rules)

    def _refused(self, operation: str, rule: Rule) -> Fault:
        if rule.fault is Fault.BUSY:
            raise StoreBusy(f"{operation}: busy (a fault of the test)")
        if rule.fault is Fault.LOST:
            raise StoreUnavailable(f"{operation}: unavailable (a fault of the test)")
        return rule.fault

    def _answered(self, operation: str, after: Fault | None) -> None:
        if after is Fault.UNKNOWN:
            raise StoreUnavailable(f"{operation}: no answer (a fault of the test)")

    def _check_open(self, operation: str) -> None:
        if self.closed:
            raise StoreUnavailable(f"{operation}: this handle is closed")


class Part:
    """Journals, snapshots, rooms or sessions of a handle. Its methods say what is done; `reads` and `writes` make
    operations of them, which are awaited and called after part and method."""

    name = ""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    async def _do(self, operation: str, act: Callable[[], T], writes: bool) -> T:
        return await self._handle.do(f"{self.name}.{operation}", act, writes)


T = TypeVar("T")
P = ParamSpec("P")
PartT = TypeVar("PartT", bound=Part)
Act = Callable[Concatenate[PartT, P], T]
Operation = Callable[Concatenate[PartT, P], Coroutine[Any, Any, T]]


def reads(act: Act[PartT, P, T]) -> Operation[PartT, P, T]:
    """An operation that writes nothing."""
    return _operation(act, writes=False)


def writes(act: Act[PartT, P, T]) -> Operation[PartT, P, T]:
    """An operation that writes."""
    return _operation(act, writes=True)


def _operation(act: Act[PartT, P, T], writes: bool) -> Operation[PartT, P, T]:
    @wraps(act)
    async def operation(part: PartT, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await part._do(act.__name__, lambda: act(part, *args, **kwargs), writes)

    return operation
