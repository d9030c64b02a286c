"""What a measurement was made on."""

from __future__ import annotations

from pathlib import Path

from holdfast.bench.machine import filesystem, machine, named, versions


def test_a_machine_is_told_from_what_the_system_says(tmp_path: Path) -> None:
    cpus, memory = tmp_path / "cpuinfo", tmp_path / "meminfo"
    cpus.write_text("processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\nprocessor\t: 1\nmodel name\t: Another\n")
    memory.write_text("MemTotal:       24650000 kB\nMemFree: 1 kB\n")
    told = machine(cpus, memory)
    assert (told["cpu"], told["memory_gb"]) == ("Some CPU @ 3 GHz", 25)
    assert named(told).startswith("Some CPU @ 3 GHz, ")


def test_what_the_system_does_not_say_is_left_open(tmp_path: Path) -> None:
    told = machine(tmp_path / "none", tmp_path / "none")
    assert told["memory_gb"] is None
    assert told["cpu"]


def test_versions_are_of_what_is_installed() -> None:
    import numpy

    assert versions()["numpy"] == numpy.__version__


def test_the_file_system_is_that_of_the_innermost_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    inner = tmp_path.resolve() / "inner"
    mounts.write_text(f"/dev/a / ext4 rw 0 0\ntmpfs {inner} tmpfs rw 0 0\nproc /proc proc rw 0 0\n")
    assert filesystem(inner / "deeper", mounts) == "tmpfs"
    assert filesystem(tmp_path, mounts) == "ext4"
    assert filesystem(tmp_path, tmp_path / "none") == "unknown"
