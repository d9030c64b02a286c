"""What `holdfast bench capacity` prints: a line a run, and whatever makes a run worth less."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OTHERS_MAX = 0.1
"""Of the machine's time, that other programs may take before it is worth a warning."""


def show(measured: Mapping[str, Any]) -> None:
    """Print the table, the rule, and what is to be said of single runs."""
    from rich.console import Console
    from rich.table import Table

    console, rule = Console(), measured["rule"]
    what = f"{measured['game']}, {measured['rooms_of']} a room, {measured['tick_hz']} Hz over {measured['transport']}"
    table = Table(title=f"{what}, journal {measured['journal']}; µs a frame, ms", title_justify="left", box=None)
    table.padding = (0, 1, 0, 0)
    names = ("players", "kept", "frames/s", "interval", "RTT", "late", "CPU", "floor", "ratio", "core", "others")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    runs = [run for point in measured["points"] for run in point["runs"]]
    for run in runs:
        seen = [run["frames_per_s"]["min"], run["frame_interval_ms"]["worst_client_p99"], run["input_rtt_ms"]["p50"]]
        costs = [run["server"]["cpu_us_per_frame"], run["floor_us_per_frame"], run["floor_ratio"]]
        shares = [_percent(run["server_core_share"]), _percent(run["others_share"])]
        told = map(_say, (*seen, run["tick_lateness_ms"]["p99"], *costs))
        table.add_row(f"{run['players']:,}", _KEPT[run["limited_by"]], *told, *shares)
    console.print(table)
    pinned = measured["pinned"]
    where = "anywhere" if pinned["server"] is None else f"core {pinned['server']}, bots on core {pinned['bots']}"
    limits = f"≥ {rule['frames_per_s_min']:g} frames/s, worst client's p99 ≤ {rule['worst_client_p99_ms']:g} ms"
    console.print(f"server on {where}; rule: {limits}", highlight=False)
    carried = f"carried: {measured['capacity']:,} players" if measured["held"] else "not carried"
    if any(run["limited_by"] == "bots" for run in runs):
        carried += "; where bots were late themselves, the server may carry more"
    console.print(carried, style="bold", highlight=False)
    for point in measured["points"]:
        if "failed" in point:
            console.print(f"{point['players']:,} players: {point['failed']}", style="yellow", markup=False)
    for run in runs:
        for text in warnings_of(run):
            console.print(f"{run['players']:,} players: {text}", style="yellow", markup=False, highlight=False)


_KEPT = {None: "yes", "server": "no", "bots": "bots"}
"""Whether the rule was kept, by who broke it."""


def warnings_of(run: Mapping[str, Any]) -> list[str]:
    """What of the rule a run broke, and what makes it worth less."""
    told = [*run["broken"], *run["warnings"], *(f"{count} errors {kind}" for kind, count in run["errors"].items())]
    life, half_ms = run["with_joins"], 500 / run["tick_hz"]
    if life is not None and life["tick_lateness_ms"]["max"] > half_ms:
        told.append(f"while players came, played or left a tick was {life['tick_lateness_ms']['max']:.0f} ms late")
    if life is not None and life["ticks_skipped"]:
        told.append(f"{life['ticks_skipped']} ticks skipped")
    if run["others_share"] is not None and run["others_share"] > OTHERS_MAX:
        told.append(f"other programs kept {run['others_share']:.0%} of the machine busy")
    return told


def _say(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"
