"""What is installed is what is in the tree, and the locks install the same files everywhere."""

from __future__ import annotations

import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import holdfast

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = ("run.txt", "dev.txt", "uv.txt")


def pinned(lock: str) -> dict[str, str]:
    """Name → version of every entry of a lock."""
    return dict(re.findall(r"^([a-z0-9._-]+)==([^\s;]+)", (ROOT / "requirements" / lock).read_text(), re.MULTILINE))


def wanted(entries: list[str]) -> set[str]:
    """The bare names of requirements such as `trio>=0.35`."""
    return {re.split(r"[<>=!~ \[;]", entry)[0] for entry in entries}


def test_every_package_folder_is_named_in_pyproject() -> None:
    tops = ("bots", "cluster", "game", "holdfast", "netcode", "profiles", "server", "web")
    folders = {".".join(path.parent.relative_to(ROOT).parts) for top in tops for path in (ROOT / top).rglob("*.py")}
    assert folders == set(PROJECT["tool"]["setuptools"]["packages"])
    assert all((ROOT / name.replace(".", "/") / "__init__.py").exists() for name in folders)


def test_every_file_of_the_pages_is_installed() -> None:
    web = ROOT / "web"
    kinds = PROJECT["tool"]["setuptools"]["package-data"]["web"]
    installed = {path for kind in kinds for path in web.glob(kind)} | set(web.glob("*.py"))
    there = {path for path in web.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert there - installed == {path for path in there if path.suffix == ".md"}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_hashes_and_no_addresses(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text()
    entries = re.split(r"^(?=[a-z0-9])", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE), flags=re.MULTILINE)
    assert all("--hash=sha256:" in entry for entry in entries if entry.strip())
    assert not re.search(r"://|--(index|extra-index|find-links|trusted-host)| @ |file:", text)


def test_the_locks_hold_what_pyproject_asks_for() -> None:
    run, dev = pinned("run.txt"), pinned("dev.txt")
    groups = PROJECT["dependency-groups"]
    assert wanted(PROJECT["project"]["dependencies"] + groups["build"]) <= run.keys()
    assert wanted(groups["dev"]) <= dev.keys()
    assert groups["build"] == PROJECT["build-system"]["requires"]
    assert run.items() <= dev.items(), "the development lock installs the versions of the run-time lock"


@pytest.mark.parametrize("name", sorted(holdfast.HOMES))
def test_a_public_name_is_the_thing_itself(name: str) -> None:
    assert getattr(holdfast, name) is getattr(import_module(holdfast.HOMES[name]), name)


def test_public_names_are_listed_and_others_refused() -> None:
    assert set(holdfast.__all__) == {*holdfast.HOMES, "__version__"} <= set(dir(holdfast))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = holdfast.nothing
