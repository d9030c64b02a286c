"""The demo: what it shows as plain values, how that looks, and real runs."""
