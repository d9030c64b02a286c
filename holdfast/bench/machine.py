"""What a measurement was made on: a figure without its machine says nothing."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("numpy", "trio", "cryptography", "pynacl", "msgpack", "xxhash")


def machine(cpus: Path = Path("/proc/cpuinfo"), memory: Path = Path("/proc/meminfo")) -> dict[str, str | int | None]:
    """Processor, cores that we may use, memory in GB, system. What the system does not tell is None."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    total_kb = _field(memory, "MemTotal")
    return {
        "cpu": _field(cpus, "model name") or platform.processor() or platform.machine(),
        "cores": cores,
        "memory_gb": None if total_kb is None else round(int(total_kb.split()[0]) / 1e6),
        "system": f"{platform.system()} {platform.release()}",
    }


def versions() -> dict[str, str]:
    """Of Python, of this project, and of the libraries that a tick spends its time in."""
    from holdfast import __version__
    from netcode.packed import compiled

    own = __version__ if compiled is not None else f"{__version__} (nothing compiled)"
    found = {"holdfast": own, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # named otherwise where it comes from
            found[name] = "unknown"
    return found


def named(machine: dict[str, str | int | None]) -> str:
    """A machine in a few words, for titles: `AMD EPYC, 2 cores, Linux 6.18`."""
    return f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}"


def _field(file: Path, name: str) -> str | None:
    """The first value of a field in a file of `name : value` lines."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next(
        (value.strip() for key, _, value in (line.partition(":") for line in lines) if key.strip() == name), None
    )


def filesystem(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The kind of file system that a folder is on, as the system names it: a tmpfs syncs at once."""
    try:
        lines = [line.split() for line in mounts.read_text().splitlines()]
    except OSError:
        return "unknown"
    parents = {str(folder.resolve()), *map(str, folder.resolve().parents)}
    inside = [(len(point), kind) for _, point, kind, *_ in lines if point in parents]
    return max(inside, default=(0, "unknown"))[1]
