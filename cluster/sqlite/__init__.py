"""The embedded engine: SQLite files in one folder, for any number of node processes of one machine."""

from cluster.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
