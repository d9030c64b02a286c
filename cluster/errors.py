"""What can go wrong with what nodes share, told apart by what may be done next.

StoreBusy         nothing was written; the same once more, a little later
StoreUnavailable  whether a write took place is not known: read before anything else
JournalFenced     this incarnation is sealed: its process writes nothing more, ever
Damaged           bytes that were stored come back as others: an older snapshot, or quarantine
"""

from __future__ import annotations


class ClusterError(Exception):
    """Base of everything that this floor raises on purpose."""

    retryable = False
    """Whether the same call may go well a little later (for a write: after a look at what is there)."""


class StoreBusy(ClusterError):
    """Another process is writing. Nothing of ours was."""

    retryable = True


class StoreUnavailable(ClusterError):
    """The store fails or does not answer. What was being written may be there or not."""

    retryable = True


class StoreUnusable(ClusterError):
    """The store cannot be opened at all; one line with the remedy."""


class NodeTaken(StoreUnusable):
    """A living process runs under this node name in this store already."""


class JournalFenced(ClusterError):
    """This incarnation was sealed by another: it may run its rooms no longer."""


class UnknownJournal(ClusterError):
    """There is no journal of this incarnation (any more)."""


class Damaged(ClusterError):
    """Stored bytes that are no longer what was stored."""


class BadRecord(Damaged):
    """A record of a journal that fails its checksum, or makes no sense."""


class BadSnapshot(Damaged):
    """A snapshot that fails its checksum, or makes no sense."""


class BadTicket(ClusterError):
    """A ticket that we have not signed, that is too old, or that is for another node."""
