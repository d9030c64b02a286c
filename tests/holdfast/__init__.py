"""Tests of the command line, its options and the names that users import."""
