"""`holdfast bench plots`: drawings for the docs, from the JSON that other commands have written.

    capacity.svg   processor time a frame by players, the floor of the same runs below     bench capacity --json
    pauses.svg     what players saw of a fault, by its kind                                 chaos --json
    recovery.svg   from seal to first tick, by step                                         bench recovery --json

What a file is follows from its keys; what is neither is left out, and told. Files of several machines are not drawn
together. The drawings are the same bytes for the same files.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from holdfast.bench.machine import named

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INCHES = (7.0, 4.0)
STEPS = ("seal", "claim", "load", "read", "replay", "snapshot", "admit", "first_tick")

File = Mapping[str, Any]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("docs"),
    show_default=True,
    help="Where the drawings go.",
)
def plots(folder: Path, into: Path) -> int:
    """Draw the figures in the JSON files of FOLDER as SVG, the machine named in each.

    \b
    Example:
      holdfast bench capacity --json runs/capacity.json
      holdfast bench plots runs --into docs
    """
    if find_spec("matplotlib") is None:
        raise click.UsageError("plots need matplotlib, a tool of development: pip install matplotlib")
    kinds = sorted_out({path.name: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))})
    into.mkdir(parents=True, exist_ok=True)
    for name, files in kinds.items():
        if name == "other":
            click.echo(f"left out: {', '.join(files)}", err=True)
        else:
            draw(name, list(files.values()), into / f"{name}.svg")
            click.echo(into / f"{name}.svg")
    if not kinds.keys() - {"other"}:
        raise click.UsageError(f"{folder} holds nothing that can be drawn")
    return 0


def sorted_out(files: Mapping[str, Any]) -> dict[str, dict[str, File]]:
    """Files by what is drawn from them, "other" for the rest."""
    found: dict[str, dict[str, File]] = {}
    for name, data in files.items():
        keys = set(data) if isinstance(data, dict) else set()
        kind = next((kind for kind, (key, _) in _KINDS.items() if key in keys), "other")
        found.setdefault(kind, {})[name] = data
    return found


def draw(kind: str, files: Sequence[File], to: Path) -> None:
    """One drawing. Raises click.UsageError for files of several machines."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update({"svg.hashsalt": "holdfast", "svg.fonttype": "none"})
    figure = Figure(figsize=INCHES, layout="constrained")
    axes = figure.add_subplot()
    _KINDS[kind][1](axes, files)
    axes.set_title(machine_of(files), fontsize="small", loc="right", color="gray")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(to, format="svg", metadata={"Date": None})


def machine_of(files: Sequence[File]) -> str:
    """The machine that all of them come from. Raises click.UsageError."""
    names = {named(file["machine"]) if file.get("machine") else "a machine that is not named" for file in files}
    if len(names) > 1:
        raise click.UsageError(f"figures of several machines are not drawn together: {'; '.join(sorted(names))}")
    return names.pop()


# -- what is drawn -----------------------------------------------------------------------------------------------------


def costs(files: Sequence[File]) -> dict[str, list[tuple[int, float, float | None]]]:
    """By workload: (players, median µs a frame, median floor), from all runs of that number that kept the rule."""
    runs: dict[str, dict[int, list[Mapping[str, Any]]]] = {}
    for file in files:
        options = "".join(f" {name}={value}" for name, value in file["options"].items())
        name = f"{file['game'].rpartition(':')[2]}{options}, {file['transport']}"
        for run in (run for point in file["points"] for run in point["runs"]):
            if not run["broken"] and run["server"]["cpu_us_per_frame"] is not None:
                runs.setdefault(name, {}).setdefault(run["players"], []).append(run)
    found: dict[str, list[tuple[int, float, float | None]]] = {}
    for name, by_players in runs.items():
        for players, some in sorted(by_players.items()):
            floors = [run["floor_us_per_frame"] for run in some if run["floor_us_per_frame"] is not None]
            cost = statistics.median(run["server"]["cpu_us_per_frame"] for run in some)
            found.setdefault(name, []).append((players, cost, statistics.median(floors) if floors else None))
    return found


def _capacity(axes: Axes, files: Sequence[File]) -> None:
    for name, points in costs(files).items():
        (line,) = axes.plot([point[0] for point in points], [point[1] for point in points], marker="o", label=name)
        floors = [(players, floor) for players, _, floor in points if floor is not None]
        if floors:
            label = f"floor: recvmmsg and sendmmsg alone ({name})"
            axes.plot(*zip(*floors, strict=True), marker=".", linestyle=":", color=line.get_color(), label=label)
    axes.set(xlabel="players on one core", ylabel="µs of processor time a player and tick")
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.legend(frameon=False, fontsize="small")


def felt(files: Sequence[File]) -> list[tuple[str, float, float, float]]:
    """By kind of fault: p50, p99 and the longest pause in ms; of several runs of a kind the median of each."""
    kinds: dict[str, list[Mapping[str, float]]] = {}
    for file in files:
        if file["pauses_ms"]["count"]:
            kinds.setdefault(file["nemesis"], []).append(file["pauses_ms"])

    def middle(some: Sequence[Mapping[str, float]], name: str) -> float:
        return statistics.median(one[name] for one in some)

    return [(kind, middle(some, "p50"), middle(some, "p99"), middle(some, "max")) for kind, some in kinds.items()]


def _pauses(axes: Axes, files: Sequence[File]) -> None:
    bars = felt(files)
    for place, (label, number) in enumerate((("p50", 1), ("p99", 2), ("longest", 3))):
        axes.bar([at + (place - 1) * 0.25 for at in range(len(bars))], [bar[number] for bar in bars], 0.25, label=label)
    axes.set_xticks(range(len(bars)), [bar[0] for bar in bars])
    axes.set(xlabel="fault", ylabel="pause that players saw, ms")
    axes.legend(frameon=False, fontsize="small")


def _recovery(axes: Axes, files: Sequence[File]) -> None:
    ages = [f"{one['seconds_of_journal']:g} s" + " at most" * one["staggered"] for one in files]
    names = [f"{one['rooms']} rooms,\n{age}" for one, age in zip(files, ages, strict=True)]
    places, below = range(len(files)), [0.0] * len(files)
    for step in STEPS:
        took = [one["steps_ms"].get(step, 0.0) for one in files]
        axes.barh(places, took, left=below, label=step.replace("_", " "))
        below = [before + more for before, more in zip(below, took, strict=True)]
    axes.set_yticks(places, names)
    axes.set(xlabel="ms from sealing the journal to the first tick of every room")
    axes.legend(frameon=False, fontsize="small", ncols=2)


_KINDS = {
    "capacity": ("points", _capacity),
    "pauses": ("pauses_ms", _pauses),
    "recovery": ("steps_ms", _recovery),
}
"""Kind → the key that tells it, and what draws it."""
