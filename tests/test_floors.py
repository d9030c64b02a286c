"""The house rules that a reader relies on, checked in every module by reading its syntax tree.

    Floors        a top-level folder imports only the folders below it; `profiles` imports none of the others
    Purity        a pure file touches no clock, socket, thread, file or chance, and imports no file of ours that does
    Determinism   of `game/`: nothing whose result depends on the machine, the process or the order of a set
    Size          a file opens with its why, and stays small enough to be read at one sitting

The checkers are functions from source text to lines of complaint; the first half of this file tries them on made-up
sources, the second half lets them loose on the real ones.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

BELOW = {
    "benchmarks": {"holdfast", "bots", "server", "cluster", "netcode", "game", "profiles"},
    "holdfast": {"bots", "server", "cluster", "netcode", "game", "profiles"},
    "bots": {"cluster", "netcode", "game", "profiles"},
    "server": {"cluster", "netcode", "game", "profiles"},
    "cluster": {"netcode", "game", "profiles"},
    "netcode": {"game", "profiles"},
    "game": set(),
    "profiles": set(),
}
"""Folder → the folders that it may import."""

IMPURE_NETCODE = {
    *("certificate", "client", "connection", "lifeline", "mmsg", "pool", "presence", "reach", "seated", "sockets"),
    *("pooled", "tcp", "tls", "udp", "weblink"),
}
PURE_ELSEWHERE = {"profiles.model", "bots.brain", "bots.histogram", "bots.report"}

# fmt: off
IMPURE = {
    "asyncio", "concurrent", "ctypes", "datetime", "fcntl", "fileinput", "glob", "http",
    "io", "logging", "mmap", "multiprocessing", "os", "pathlib", "queue", "random",
    "secrets", "select", "selectors", "shutil", "signal", "socket", "socketserver", "sqlite3",
    "ssl", "structlog", "subprocess", "tempfile", "threading", "time", "trio", "urllib",
    "uuid", "sqlalchemy", "alembic", "click", "rich",
}
# fmt: on
IMPURE_CALLS = {"open", "print", "input", "breakpoint", "exec", "eval"}

INEXACT = {
    *(
        "sin",
        "cos",
        "tan",
        "asin",
        "acos",
        "atan",
        "atan2",
        "sinh",
        "cosh",
        "tanh",
        "asinh",
        "acosh",
        "atanh",
    ),
    *(
        "arcsin",
        "arccos",
        "arctan",
        "arctan2",
        "arcsinh",
        "arccosh",
        "arctanh",
        "hypot",
        "cbrt",
        "pow",
        "power",
    ),
    *(
        "float_power",
        "exp",
        "exp2",
        "expm1",
        "log",
        "log2",
        "log10",
        "log1p",
        "gamma",
        "lgamma",
        "erf",
        "erfc",
    ),
}
"""Of math and NumPy: the last bit depends on the C library, or on the CPU's features."""
UNORDERED_SUMS = {"dot", "vdot", "inner", "matmul", "einsum", "tensordot", "linalg", "fft", "random"}
"""Of NumPy: the order of the additions (or the chance) is the library's."""
UNSTABLE_SORTS = {"argsort", "argpartition", "partition"}
ORDER_BLIND = {"len", "sorted", "min", "max", "any", "all", "set", "frozenset", "bool", "isinstance"}
"""What a set may be given to: the result does not tell in which order it came."""

LINES_MAX = 450


# Checkers: source text in, complaints out.


@functools.cache
def syntax(source: str) -> ast.Module:
    """The tree of a source, which several checkers look at."""
    return ast.parse(source)


def imports_of(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """(line, full dotted name) of everything imported anywhere in the file, also inside functions.

    `from a import b` gives both `a` and `a.b`, for b may be a module. Relative ones count from `package`.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            yield node.lineno, base
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def floor_faults(source: str, module: str, package: str) -> list[str]:
    """Imports of our own folders that lie above (or beside) the one that `module` is in."""
    own = module.partition(".")[0]
    found = {
        (line, name.partition(".")[0])
        for line, name in imports_of(syntax(source), package)
        if name.partition(".")[0] in BELOW.keys() | {"tests"}
    }
    return [f"{module}:{line} imports {top}" for line, top in sorted(found) if top != own and top not in BELOW[own]]


def purity_faults(source: str, module: str, package: str, pure: Iterable[str], ours: Iterable[str]) -> list[str]:
    """What a pure file must not do: import the outside world or an impure file of ours, open, print."""
    tree = syntax(source)
    pure, ours = set(pure), set(ours)
    faults = []
    for line, name in imports_of(tree, package):
        if name.partition(".")[0] in IMPURE or name.startswith("numpy.random"):
            faults.append((line, f"imports {name}"))
        elif name in ours and name not in pure:
            faults.append((line, f"imports {name}, which is not pure"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
            faults.append((node.lineno, f"calls {node.func.id}()"))
        elif isinstance(node, (ast.AsyncFunctionDef, ast.Await)):
            faults.append((node.lineno, "awaits"))
    return [f"{module}:{line} {what}" for line, what in sorted(set(faults))]


def determinism_faults(source: str, module: str) -> list[str]:
    """What could give two machines, or processes, different bytes. Sets are followed by their names."""
    tree = syntax(source)
    sets = set_names(tree)
    faults: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        faults += [(getattr(node, "lineno", 0), what) for what in _machine_dependent(node)]
        if isinstance(node, (ast.For, ast.comprehension)) and is_set(node.iter, sets):
            faults.append((node.iter.lineno, "iterates over a set"))
        elif isinstance(node, ast.Starred) and is_set(node.value, sets):
            faults.append((node.lineno, "unpacks a set"))
        elif isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else None
            if name not in ORDER_BLIND and not (isinstance(node.func, ast.Attribute) and is_set(node.func.value, sets)):
                faults += [(arg.lineno, "gives away a set") for arg in node.args if is_set(arg, sets)]
            if isinstance(node.func, ast.Attribute) and node.func.attr == "pop" and is_set(node.func.value, sets):
                faults.append((node.lineno, "pops from a set"))
    return [f"{module}:{line} {what}" for line, what in sorted(set(faults))]


def _machine_dependent(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.BinOp(op=ast.MatMult()) | ast.AugAssign(op=ast.MatMult()):
            yield "multiplies matrices with @"
        case ast.ImportFrom(module="math" | "cmath" | "numpy", names=names):
            yield from (f"imports {alias.name}" for alias in names if alias.name in INEXACT | UNORDERED_SUMS)
        case ast.Attribute(value=ast.Name(id="math" | "cmath" | "np" | "numpy" as library), attr=name):
            if name in INEXACT | UNORDERED_SUMS:
                yield f"uses {library}.{name}"
        case ast.Call(func=ast.Attribute(attr="dot")):
            yield "calls .dot()"
        case ast.Call(func=ast.Name(id="hash" | "id" as name)):
            yield f"calls {name}()"
    match node:
        case ast.Call(func=ast.Attribute(attr=name), keywords=keywords) if name in UNSTABLE_SORTS:
            kinds = [
                word.value.value for word in keywords if word.arg == "kind" and isinstance(word.value, ast.Constant)
            ]
            if name != "argsort" or kinds != ["stable"]:
                yield f"calls {name}() without kind='stable'"


def set_names(tree: ast.AST) -> set[str]:
    """Names and attributes that some statement of the file binds to a set."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) or (isinstance(node, ast.arg) and node.annotation is not None):
            annotation = ast.unparse(node.annotation)  # type: ignore[arg-type]
            if annotation.partition("[")[0].rpartition(".")[2] in {"set", "frozenset", "Set", "AbstractSet"}:
                names.add(node.arg if isinstance(node, ast.arg) else ast.unparse(node.target))
        elif isinstance(node, ast.Assign) and is_set(node.value, names):
            names |= {ast.unparse(target) for target in node.targets}
    return names


def is_set(node: ast.AST, names: set[str]) -> bool:
    """Whether an expression is plainly a set."""
    match node:
        case ast.Set() | ast.SetComp() | ast.Call(func=ast.Name(id="set" | "frozenset")):
            return True
        case ast.Name() | ast.Attribute():
            return ast.unparse(node) in names
        case ast.BinOp(left=left, op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor(), right=right):
            return is_set(left, names) or is_set(right, names)
        case ast.Call(func=ast.Attribute(value=value, attr="union" | "intersection" | "difference" | "copy")):
            return is_set(value, names)
    return False


def shape_faults(source: str, module: str) -> list[str]:
    """A file without its opening why, or too long to be read at one sitting. An empty one needs no why."""
    lines = source.count("\n")
    faults = [] if lines <= LINES_MAX else [f"{module}: {lines} lines; split it, {LINES_MAX} are the limit"]
    tree = syntax(source)
    explained = not tree.body or ast.get_docstring(tree)
    return faults if explained else [*faults, f"{module}: opens without a docstring"]


def sleeps(source: str, module: str) -> list[str]:
    """Calls of time.sleep, which make a test slow and still not certain."""
    return [
        f"{module}:{node.lineno} sleeps; wait for the event, or use the autojump clock"
        for node in ast.walk(syntax(source))
        if isinstance(node, ast.Attribute) and node.attr == "sleep" and ast.unparse(node) == "time.sleep"
    ]


# The checkers themselves, on made-up sources.


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("game.rows", "import netcode.seal", "game.rows:1 imports netcode"),
        ("game.rows", "def f():\n    from server import node", "game.rows:2 imports server"),
        ("bots.swarm", "from server.settings import Settings", "bots.swarm:1 imports server"),
        ("server.node", "import bots", "server.node:1 imports bots"),
        ("profiles.store", "import game", "profiles.store:1 imports game"),
        ("cluster.lease", "from holdfast import Settings", "cluster.lease:1 imports holdfast"),
        ("holdfast.cli", "from tests import helpers", "holdfast.cli:1 imports tests"),
        ("netcode.udp", "if TYPE_CHECKING:\n    from cluster import lease", "netcode.udp:2 imports cluster"),
    ],
)
def test_an_import_from_a_floor_above_is_found(module: str, source: str, complaint: str) -> None:
    assert floor_faults(source, module, module.rpartition(".")[0]) == [complaint]


def test_imports_from_floors_below_are_fine() -> None:
    source = "import trio\nfrom netcode import seal\nfrom . import host\nfrom .host import Host\nimport gamefoo"
    assert floor_faults(source, "server.node", "server") == []


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("import time", "imports time"),
        ("def f():\n    from time import monotonic", "imports time.monotonic"),
        ("import os.path", "imports os.path"),
        ("import numpy.random", "imports numpy.random"),
        ("from numpy import random", "imports numpy.random"),
        ("from netcode import tcp", "imports netcode.tcp, which is not pure"),
        ("from netcode.tcp import ByteLink", "imports netcode.tcp, which is not pure"),
        ("from .tcp import ByteLink", "imports netcode.tcp, which is not pure"),
        ("open('x')", "calls open()"),
        ("async def f(): ...", "awaits"),
    ],
)
def test_an_impure_file_is_found(source: str, complaint: str) -> None:
    faults = purity_faults(source, "netcode.seal", "netcode", {"netcode.seal"}, {"netcode.seal", "netcode.tcp"})
    assert any(fault.endswith(complaint) for fault in faults)


def test_a_pure_file_is_fine() -> None:
    source = "import struct, timeit\nfrom netcode.acks import A\ndef f(now): return now.time + a.open()"
    assert purity_faults(source, "netcode.seal", "netcode", {"netcode.seal", "netcode.acks"}, {"netcode.acks"}) == []


@pytest.mark.parametrize(
    "source",
    [
        "import math\nmath.sin(1)",
        "np.sin(x)",
        "f = np.arctan2",
        "from math import cos",
        "np.dot(a, b)",
        "a.dot(b)",
        "a @ b",
        "a @= b",
        "np.linalg.norm(a)",
        "np.random.default_rng()",
        "hash(x)",
        "id(x)",
        "np.argsort(x)",
        "x.argsort(kind='quicksort')",
        "for x in {1, 2}: pass",
        "[x for x in set(y)]",
        "a = {1}\nfor x in a | b: pass",
        "def f(a: set[int]):\n    return list(a)",
        "class A:\n    def f(self):\n        self.a = set()\n        return tuple(self.a)",
        "a = {1}\na.pop()",
        "[*{1, 2}]",
    ],
)
def test_what_depends_on_the_machine_is_found(source: str) -> None:
    assert determinism_faults(source, "game.rows")


def test_what_is_the_same_everywhere_is_fine() -> None:
    source = (
        "import math\nimport numpy as np\na = {1, 2}\nb = {'k': 1}\nmath.isqrt(4)\n"
        "np.clip(x, 0, 1)\nsorted(a)\nlen(a)\nfor k in b: pass\nfor k in sorted(a): pass\n"
        "np.argsort(x, kind='stable')\n3 in a\na.add(4)\nself.hash(x)\na - {1}"
    )
    assert determinism_faults(source, "game.rows") == []


def test_a_long_or_unexplained_file_is_found() -> None:
    assert shape_faults('"""Why."""\n' + "x = 1\n" * (LINES_MAX - 1), "m") == []
    assert len(shape_faults('"""Why."""\n' + "x = 1\n" * LINES_MAX, "m")) == 1
    assert len(shape_faults("x = 1\n", "m")) == 1
    assert shape_faults("", "m") == []


def test_a_sleeping_test_is_found() -> None:
    assert sleeps("import time\ntime.sleep(1)", "tests.x")
    assert not sleeps("import trio\ntrio.sleep(1)", "tests.x")


# The real sources.


def modules_of(*folders: str) -> dict[str, Path]:
    """Dotted name → file, of every module in these folders; a package is named like its folder."""
    found = {}
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


OURS = modules_of(*BELOW)
PURE = {
    name
    for name in OURS
    if name.partition(".")[0] == "game"
    or (name.partition(".")[0] == "netcode" and name.partition(".")[2] not in IMPURE_NETCODE)
    or name in PURE_ELSEWHERE
}


def package_of(name: str) -> str:
    """The package that relative imports in this module count from."""
    return name if OURS[name].name == "__init__.py" else name.rpartition(".")[0]


def test_every_folder_is_looked_at() -> None:
    assert {name.partition(".")[0] for name in OURS} == set(BELOW)
    assert {"game.api", "netcode.seal", "profiles.model"} <= PURE
    assert not {"netcode.tcp", "server.settings", "profiles.store"} & PURE


def test_each_folder_imports_only_what_lies_below_it() -> None:
    assert [f for name, path in OURS.items() for f in floor_faults(path.read_text(), name, package_of(name))] == []


def test_pure_files_are_pure() -> None:
    faults = [purity_faults(OURS[name].read_text(), name, package_of(name), PURE, OURS) for name in sorted(PURE)]
    assert [fault for each in faults for fault in each] == []


def test_games_are_deterministic() -> None:
    names = [name for name in OURS if name.partition(".")[0] == "game"]
    assert [fault for name in names for fault in determinism_faults(OURS[name].read_text(), name)] == []


def test_files_open_with_their_why_and_stay_small() -> None:
    assert [fault for name, path in OURS.items() for fault in shape_faults(path.read_text(), name)] == []


def test_no_test_sleeps() -> None:
    assert [fault for name, path in modules_of("tests").items() for fault in sleeps(path.read_text(), name)] == []
