from __future__ import annotations

import json
import re

from benchmarks.peers.install import HERE, NPM_LOCK, PIP_LOCK


def test_the_lock_of_npm_has_hashes_and_no_addresses() -> None:
    text = NPM_LOCK.read_text()
    assert "://" not in text
    assert "resolved" not in text
    lock = json.loads(text)
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    wanted = json.loads((HERE / "package.json").read_text())
    assert all(lock["packages"][""][kind] == wanted[kind] for kind in ("dependencies", "optionalDependencies"))
    assert {f"node_modules/{name}" for kind in ("dependencies", "optionalDependencies") for name in wanted[kind]} <= (
        packages.keys()
    )


def test_the_lock_of_pip_has_hashes_and_no_addresses() -> None:
    text = PIP_LOCK.read_text()
    entries = re.split(r"^(?=[a-z0-9])", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE), flags=re.MULTILINE)
    assert all("--hash=sha256:" in entry for entry in entries if entry.strip())
    assert "://" not in text
    wanted = re.findall(r"^[a-z]+", (HERE / "requirements.in").read_text(), re.MULTILINE)
    assert {"uvloop", "websockets"} == set(wanted) <= set(re.findall(r"^([a-z]+)==", text, re.MULTILINE))
