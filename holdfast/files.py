"""Open files: a connection is one, and many systems give a process 1024 unless it asks for more."""

from __future__ import annotations


def raise_file_limit() -> None:
    """Use all the open files that this user may have."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
