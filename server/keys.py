"""The secret that the nodes of one data folder share: for sealing session records, and for signing tickets.

A file with one Fernet key a line, the newest first: the first one seals, all of them open. To rotate, put a new line in
front (`python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"`), restart the nodes
one by one, and take the last line out a day later.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import attrs
from cryptography.fernet import Fernet, MultiFernet

FILE = "cluster.key"


class BadKeys(Exception):
    """The file of keys cannot be used; one line with the remedy."""


@attrs.frozen
class Keys:
    """What the file gives."""

    cipher: MultiFernet
    """Seals what is private in the store."""
    tickets: bytes
    """32 bytes that tickets are signed with."""


def load_keys(folder: Path) -> Keys:
    """The keys of a data folder, made when there are none; of several processes that try at once one makes them.
    Raises BadKeys."""
    path = folder / FILE
    try:
        if not path.exists():
            own = folder / f".{FILE}.{os.getpid()}"
            descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(Fernet.generate_key() + b"\n")
            try:
                os.link(own, path)
            except FileExistsError:
                pass
            finally:
                own.unlink()
        lines = path.read_text(encoding="ascii").split()
        keys = [Fernet(line) for line in lines]
    except OSError as error:
        raise BadKeys(f"cannot use {path}: {error.strerror or error}; check its owner and permissions") from error
    except ValueError as error:
        raise BadKeys(f"{path} holds something else than Fernet keys ({error}); restore it") from error
    if not keys:
        raise BadKeys(f"{path} is empty; restore it, or delete it to let all sessions end")
    signing = hashlib.blake2b(lines[-1].encode(), digest_size=32, person=b"holdfast tickets").digest()
    return Keys(MultiFernet(keys), signing)
