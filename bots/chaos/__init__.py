"""Chaos: a real cluster, real players, real faults, and a check of the whole history afterwards."""
