"""The embedded engine: the store in SQLite files of one folder, for any number of processes on one machine.

    journals/<incarnation>.db   lease, fence and records of one incarnation    directory.db   rooms and their owners
    locks/<incarnation>.lock    held (flock) as long as its process lives      snapshots.db   the last three of a room
    locks/node-<name>.lock      the same for a node's name                     sessions.db    who plays, and where
    locks/keeper-<file>.lock    held while somebody brings in that file's log

Nobody opens a database with plain `open()`: closing it would let go of every lock that SQLite has in this process.
"""

from cluster.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
