"""`holdfast bench`: what things cost, each beside a reference that is measured in the same run."""

from __future__ import annotations

import click

from holdfast.bench.capacity import capacity
from holdfast.bench.codec import codec
from holdfast.bench.floor import floor
from holdfast.bench.joins import joins
from holdfast.bench.journal import journal
from holdfast.bench.memory import memory
from holdfast.bench.plots import plots
from holdfast.bench.recovery import recovery
from holdfast.bench.soak import soak
from holdfast.bench.store import store
from holdfast.bench.tick import tick


@click.group()
def bench() -> None:
    """Measure what a part of the server costs; prints a table, and JSON with --json FILE."""


bench.add_command(capacity)
bench.add_command(codec)
bench.add_command(floor)
bench.add_command(joins)
bench.add_command(journal)
bench.add_command(memory)
bench.add_command(plots)
bench.add_command(recovery)
bench.add_command(soak)
bench.add_command(store)
bench.add_command(tick)
