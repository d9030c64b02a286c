"""Where rooms live and how they outlive a node: leases, directory, journal, snapshots, takeover.

Imports netcode and game.
"""
