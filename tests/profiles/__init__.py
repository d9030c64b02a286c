"""Tests of `profiles`, a file beside each file."""
