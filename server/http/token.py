"""The token that operators show: whoever has it may see and do everything that HTTP offers.

A file with one line, made when it is missing, readable by its owner alone; all nodes of a data folder have the same.
It is never logged, never in a command line, and compared in constant time.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from pathlib import Path

import attrs

FILE = "http.token"
LENGTH_MIN = 16


class BadToken(Exception):
    """The file cannot be used; one line with the remedy."""


@attrs.frozen
class Token:
    """Knows whether it was shown."""

    _text: str = attrs.field(repr=False)

    def is_shown(self, authorization: str) -> bool:
        """Whether this is an `Authorization` header with the token."""
        scheme, _, shown = authorization.partition(" ")
        right = hmac.compare_digest(shown.strip().encode(), self._text.encode())
        return right and scheme.lower() == "bearer"

    def header(self) -> str:
        """The header that shows it, to another node."""
        return f"Bearer {self._text}"


def load_token(folder: Path, path: Path | None = None) -> Token:
    """The token in `path`, or the data folder's own, made when there is none. Raises BadToken."""
    try:
        if path is None:
            path = folder / FILE
            if not path.exists():
                _make(path)
            elif stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise BadToken(
                    f"{path} may be read by others than its owner; `chmod 600` it, or delete it to get another"
                )
        text = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise BadToken(f"cannot use {path}: {error.strerror or error}; check its owner and permissions") from error
    except ValueError as error:
        raise BadToken(f"{path} holds something else than a token: it is not ASCII") from error
    if len(text) < LENGTH_MIN or not text.isprintable() or " " in text:
        raise BadToken(f"{path} holds no token: one line of at least {LENGTH_MIN} letters without blanks")
    return Token(text)


def _make(path: Path) -> None:
    """Of several processes that try at once one makes it."""
    own = path.with_name(f".{path.name}.{os.getpid()}")
    own.unlink(missing_ok=True)
    with os.fdopen(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(32) + "\n")
    try:
        os.link(own, path)
    except FileExistsError:
        pass
    finally:
        own.unlink()
