"""The node: one server process that wires rooms, network and stores together.

Imports cluster, netcode, game and profiles.
"""
