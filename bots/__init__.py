"""Headless players over real sockets: seeded brains, the lean swarm, the report. Imports netcode and game."""
