"""Field kinds of messages: a validator that raises ValueError, so that both ends check the same limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs


def _check(test: Callable[[Any], bool], wanted: str) -> Callable[[Any, Any, Any], None]:
    def validate(_instance: Any, attribute: Any, value: Any) -> None:
        if not test(value):
            raise ValueError(f"{attribute.name} must be {wanted}")

    return validate


def whole(low: int = 0, high: int = 2**63 - 1, **kwargs: Any) -> Any:
    """A whole number in low..high."""
    return attrs.field(
        validator=_check(lambda v: type(v) is int and low <= v <= high, f"a whole number in {low}..{high}"),
        **kwargs,
    )


def text(longest: int, **kwargs: Any) -> Any:
    """Text of at most `longest` characters."""
    return attrs.field(
        validator=_check(lambda v: isinstance(v, str) and len(v) <= longest, f"text of at most {longest} characters"),
        **kwargs,
    )


def blob(shortest: int, longest: int, **kwargs: Any) -> Any:
    """Between `shortest` and `longest` bytes."""
    return attrs.field(
        validator=_check(
            lambda v: isinstance(v, bytes) and shortest <= len(v) <= longest, f"{shortest} to {longest} bytes"
        ),
        **kwargs,
    )


def flag(**kwargs: Any) -> Any:
    """True or false."""
    return attrs.field(validator=_check(lambda v: type(v) is bool, "true or false"), **kwargs)


def several(most: int, **kwargs: Any) -> Any:
    """A list of at most `most` values."""
    return attrs.field(
        validator=_check(lambda v: isinstance(v, list) and len(v) <= most, f"a list of at most {most}"),
        **kwargs,
    )


def mapping(most: int, **kwargs: Any) -> Any:
    """A map of at most `most` entries with text keys."""
    return attrs.field(
        validator=_check(
            lambda v: isinstance(v, dict) and len(v) <= most and all(isinstance(k, str) for k in v),
            f"a map of at most {most} entries with text keys",
        ),
        **kwargs,
    )
