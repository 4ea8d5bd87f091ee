"""The rules of the house, held against the source of every module: who may import whom, which
names stay in which files, and how long a file may grow.

A rule is a function of a module's name and syntax tree that yields one sentence for each breach.
"""

import ast
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parent.parent

MAY_IMPORT = {  # package -> what of ours it may import besides itself
    "engine": (),
    "wire": (),
    "coordinator": ("engine", "wire"),
    "worker": ("engine", "wire"),
    "sampler": (
        *("engine", "wire"),
        *("coordinator.checkpoint", "coordinator.run_directory", "coordinator.errors"),
    ),
    "dashboard": (
        *("engine", "wire", "sampler"),
        *("coordinator.checkpoint", "coordinator.run_directory", "coordinator.errors"),
        *("coordinator.metrics", "coordinator.status", "coordinator.status_door"),
        *("coordinator.metrics_line", "coordinator.timeline"),
    ),
    "cli": ("engine", "wire", "coordinator", "worker", "sampler", "dashboard"),
}
OURS = (*MAY_IMPORT, "tests", "benchmarks")

THIRD_PARTY = {  # package -> the files that may import it
    "zmq": ("wire/monitored.py", "wire/transport.py", "wire/security.py"),
    "xxhash": ("wire/digest.py",),
    "msgpack": ("wire/codec.py",),
    "click": ("cli/*",),
    "rich": ("cli/*",),
    "numba": tuple(f"engine/{name}.py" for name in ("lanes", "elementwise", "matmul", "kernels")),
    "llvmlite": ("engine/lanes.py", "engine/matmul.py"),
    "safetensors": ("coordinator/checkpoint.py",),
    "numpy": (
        *("coordinator/*", "worker/*", "sampler/*", "cli/*"),
        *("engine/vector.py", "engine/encode.py", "engine/kernels.py", "engine/compiled.py"),
        *("engine/decode.py", "engine/packed.py"),
    ),
    "starlette": (
        *("sampler/http.py", "sampler/streaming.py", "sampler/api_key.py"),
        *("sampler/web_server.py", "dashboard/http.py"),
    ),
    "uvicorn": ("sampler/web_server.py", "sampler/patience.py"),
    "h11": ("sampler/patience.py",),
    "prometheus_client": ("sampler/observed.py", "dashboard/observed.py"),
    "matplotlib": ("cli/figure.py",),
    "tensorboardX": ("cli/event_files.py",),
}

# Time, chance and the machine are arguments; only the edge may ask for them.
EDGE = (
    "*/service.py",
    "coordinator/beside.py",
    "dashboard/asking.py",
    "dashboard/http.py",
    "sampler/http.py",
    "sampler/web_server.py",
    "sampler/streaming.py",
    "sampler/models.py",
    "sampler/patience.py",
    "cli/*",
    "coordinator/files.py",
    "coordinator/run_directory.py",
    "coordinator/saver.py",
    "coordinator/store.py",
    "coordinator/memory.py",
    "coordinator/metrics.py",
    "wire/monitored.py",
    "wire/transport.py",
    "wire/security.py",
    "wire/tcp.py",
    "wire/keyring.py",
)
OF_THE_EDGE = {
    *("datetime", "time", "secrets", "uuid"),
    *("asyncio", "os", "select", "selectors", "signal", "socket"),
    *("multiprocessing", "subprocess", "threading"),
}

# From Python 3.12 `sum` compensates floats; numpy's order depends on layout; fsum has none.
SUMS = {"average", "cumsum", "fmean", "fsum", "mean", "nanmean", "nansum", "sum", "sumprod"}

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
IMPORTS = (ast.Import, ast.ImportFrom)


def breaches(name: str, source: str) -> list[str]:
    """List what the module `name`, a path like engine/value.py, does against the rules."""
    tree = ast.parse(source)
    rules = (
        imports_downhill,
        third_party_at_home,
        machine_at_the_edge,
        imports_on_top,
        imports_in_sight,
        chance_as_argument,
        sums_in_order,
        packages_without_code,
        functions_on_a_screen,
    )
    found = [*chain.from_iterable(rule(name, tree) for rule in rules)]
    lines = len(source.splitlines())
    if lines > FILE_LINES_MAX:
        found.append(f"{name} has {lines} lines; a file may have {FILE_LINES_MAX}")
    return found


# ---- the rules ----------------------------------------------------------------------------------


def imports_downhill(name: str, tree: ast.Module) -> Iterator[str]:
    package = name.partition("/")[0]
    allowed = (package, *MAY_IMPORT[package])
    for module in imported(tree):
        if module.partition(".")[0] in OURS and not any(within(module, path) for path in allowed):
            others = ", ".join(MAY_IMPORT[package]) or "nothing of ours"
            yield f"{name} imports {module}; {package}/ may import {others}"


def third_party_at_home(name: str, tree: ast.Module) -> Iterator[str]:
    for top in sorted({module.partition(".")[0] for module in imported(tree)}):
        if top in OURS or top in sys.stdlib_module_names:
            continue
        homes = THIRD_PARTY.get(top, ())
        if not any(fnmatch(name, home) for home in homes):
            yield f"{name} imports {top}; it belongs in {' or '.join(homes) or 'no file of ours'}"


def machine_at_the_edge(name: str, tree: ast.Module) -> Iterator[str]:
    if any(fnmatch(name, path) for path in EDGE):
        return
    for top in sorted({module.partition(".")[0] for module in imported(tree)} & OF_THE_EDGE):
        yield f"{name} imports {top}; time, chance and the machine come to it as arguments"


def imports_on_top(name: str, tree: ast.Module) -> Iterator[str]:
    scopes = (node for node in ast.walk(tree) if isinstance(node, (*FUNCTIONS, ast.ClassDef)))
    nodes = {node for scope in scopes for node in ast.walk(scope)}
    for line in sorted(node.lineno for node in nodes if isinstance(node, IMPORTS)):
        yield f"{name}:{line} imports inside a function or class; imports stand on top"


def imports_in_sight(name: str, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        where = f"{name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.ImportFrom) and node.level:
            yield f"{where} imports relatively; say the whole name"
        elif isinstance(node, ast.alias) and node.name == "*":
            yield f"{where} imports *; name what you need"
        elif identifier(node) == "import_module" and name in ("cli/main.py", "cli/extras.py"):
            continue  # commands, and what the optional ones need, imported when they are asked for
        elif identifier(node) in ("TYPE_CHECKING", "__import__", "import_module"):
            yield f"{where} hides an import behind {identifier(node)}; import it on top"


def chance_as_argument(name: str, tree: ast.Module) -> Iterator[str]:
    for line, function in taken_from(tree, "random"):
        if function != "Random":
            yield f"{name}:{line} uses random.{function}; draw from a random.Random that is given"


def sums_in_order(name: str, tree: ast.Module) -> Iterator[str]:
    remedy = "add from left to right, so that every machine gets the same bits"
    for node in ast.walk(tree):
        match node:
            case ast.Name(id="sum") if name.startswith("engine/"):
                yield f"{name}:{node.lineno} uses the builtin sum; {remedy}"
            case ast.Call(func=ast.Attribute(attr=method)) if method in SUMS:
                yield f"{name}:{node.lineno} calls .{method}(); {remedy}"
    for module in ("math", "numpy", "statistics"):
        for line, function in taken_from(tree, module):
            if function in SUMS:
                yield f"{name}:{line} uses {module}.{function}; {remedy}"


def packages_without_code(name: str, tree: ast.Module) -> Iterator[str]:
    if name.endswith("/__init__.py") and (len(tree.body) != 1 or not ast.get_docstring(tree)):
        yield f"{name} is not a docstring alone; importing a package does nothing"


def functions_on_a_screen(name: str, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield (
                    f"{name}:{node.lineno} {node.name} has {lines} lines;"
                    f" a function may have {FUNCTION_LINES_MAX}"
                )


# ---- what the rules ask of a tree ---------------------------------------------------------------


def imported(tree: ast.Module) -> list[str]:
    """List the full names that a module imports, wherever in the file it does so."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def within(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


def identifier(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
            return name
    return ""


def taken_from(tree: ast.Module, module: str) -> list[tuple[int, str]]:
    """List (line, name) of all that a file takes from a module, as m.name or from m import name."""
    own_names = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == module
    }
    taken = []
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=function) if name in own_names:
                taken.append((node.lineno, function))
            case ast.ImportFrom(module=name, names=aliases) if name == module:
                taken += [(node.lineno, alias.name) for alias in aliases]
    return taken


def cycle_in(sources: dict[str, str]) -> list[str]:
    """Give the modules of one import cycle, or none; `sources` maps their names to their text."""
    modules = {name.removesuffix(".py").replace("/", "."): text for name, text in sources.items()}
    graph = {
        module: {
            other
            for name in imported(ast.parse(text))
            for other in modules
            if within(name, other) and other != module
        }
        for module, text in modules.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


# ---- every module keeps them --------------------------------------------------------------------

MODULES = {
    path.relative_to(ROOT).as_posix(): path
    for package in MAY_IMPORT
    for path in sorted((ROOT / package).rglob("*.py"))
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_keeps_the_rules_of_the_house(name: str) -> None:
    found = breaches(name, MODULES[name].read_text(encoding="utf-8"))

    assert not found, "\n" + "\n".join(found)


def test_no_modules_import_each_other_in_a_circle() -> None:
    sources = {name: path.read_text(encoding="utf-8") for name, path in MODULES.items()}

    assert cycle_in(sources) == []


def test_the_readable_reference_is_among_the_modules_that_are_checked() -> None:
    assert {"engine/value.py", "engine/reference.py", "wire/codec.py"} <= MODULES.keys()


# ---- the rules bite -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "source", "sentence"),
    [
        ("engine/tree.py", "import wire.codec", "engine/ may import nothing of ours"),
        ("wire/codec.py", "from engine.tree import split", "wire/ may import nothing of ours"),
        ("worker/state.py", "import coordinator.state", "worker/ may import engine, wire"),
        ("coordinator/state.py", "from worker import state", "imports worker.state;"),
        ("sampler/service.py", "from coordinator import state", "imports coordinator.state;"),
        ("sampler/service.py", "import coordinator", "imports coordinator;"),
        ("worker/service.py", "import cli.main", "imports cli.main;"),
        ("cli/main.py", "from tests import conftest", "imports tests.conftest;"),
        ("cli/bench.py", "import benchmarks.scaling", "imports benchmarks.scaling;"),
        ("engine/tree.py", "def f():\n    import cli", "imports cli; engine/ may"),
        (
            "worker/service.py",
            "import zmq",
            "belongs in wire/monitored.py or wire/transport.py or wire/security.py",
        ),
        ("wire/messages.py", "from msgpack import packb", "belongs in wire/codec.py"),
        ("worker/service.py", "import click", "belongs in cli/*"),
        ("coordinator/service.py", "import rich.live", "belongs in cli/*"),
        ("engine/program.py", "from numba import njit", "belongs in engine/lanes.py or engine/el"),
        ("worker/compute.py", "from numba import njit", "belongs in engine/lanes.py or engine/el"),
        ("engine/fuse.py", "import numpy", "imports numpy; it belongs in coordinator/*"),
        ("sampler/model.py", "import safetensors.numpy", "in coordinator/checkpoint.py"),
        ("engine/tree.py", "import numpy as np", "imports numpy; it belongs in coordinator/*"),
        ("engine/eager.py", "import numpy as np", "imports numpy; it belongs in coordinator/*"),
        ("cli/plot.py", "import matplotlib", "imports matplotlib; it belongs in cli/figure.py"),
        ("cli/figure.py", "import tensorboardX", "it belongs in cli/event_files.py"),
        ("cli/main.py", "import torch", "imports torch; it belongs in no file of ours"),
        ("coordinator/state.py", "import time", "imports time; time, chance and the machine"),
        ("worker/compute.py", "from threading import Thread", "imports threading;"),
        ("engine/run.py", "import os.path", "imports os;"),
        ("engine/tree.py", "def f():\n    import math", "engine/tree.py:2 imports inside a func"),
        ("engine/tree.py", "class C:\n    import math", "engine/tree.py:2 imports inside a func"),
        ("engine/tree.py", "from .value import Value", "tree.py:1 imports relatively"),
        ("engine/tree.py", "from math import *", "tree.py:1 imports *"),
        ("wire/codec.py", "from typing import TYPE_CHECKING", "behind TYPE_CHECKING"),
        ("wire/codec.py", "codec = __import__('zmq')", "behind __import__"),
        ("cli/train.py", "from importlib import import_module", "behind import_module"),
        ("worker/state.py", "import random\n\nx = random.random()", ":3 uses random.random;"),
        ("worker/state.py", "import random as r\n\nf = r.shuffle", ":3 uses random.shuffle;"),
        ("cli/main.py", "from random import choice", ":1 uses random.choice;"),
        ("engine/evaluate.py", "total = sum([0.1])", "evaluate.py:1 uses the builtin sum"),
        ("engine/evaluate.py", "total = map(sum, [[0.1]])", "evaluate.py:1 uses the builtin sum"),
        ("worker/compute.py", "total = grad.sum()", "compute.py:1 calls .sum()"),
        ("worker/compute.py", "import numpy as np\nf = np.mean", "compute.py:2 uses numpy.mean"),
        ("wire/codec.py", "import math\nmath.fsum([])", "codec.py:2 calls .fsum()"),
        ("wire/codec.py", "from math import fsum", "codec.py:1 uses math.fsum"),
        ("cli/main.py", "from statistics import fmean", "uses statistics.fmean"),
        ("engine/__init__.py", '"""Ours."""\nimport math', "not a docstring alone"),
        ("engine/__init__.py", "", "not a docstring alone"),
        ("wire/codec.py", "x = 1\n" * 401, "has 401 lines; a file may have 400"),
        ("wire/codec.py", "def f():\n" + "    x = 1\n" * 60, "f has 61 lines; a function may"),
    ],
)
def test_a_breach_is_named_in_one_sentence(name: str, source: str, sentence: str) -> None:
    found = [breach for breach in breaches(name, source) if sentence in breach]

    assert len(found) == 1
    assert found[0].startswith(name)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("cli/main.py", "import click, rich, signal, subprocess\nfrom coordinator import state"),
        ("cli/main.py", "from importlib import import_module\nimport_module('cli.train')"),
        ("cli/extras.py", "from importlib import import_module\nimport_module('cli.figure')"),
        ("cli/figure.py", "from matplotlib.figure import Figure"),
        ("worker/service.py", "import time, signal, os\nfrom wire.codec import decode"),
        ("sampler/http.py", "import socket\nfrom coordinator.checkpoint import load"),
        ("sampler/service.py", "from coordinator import checkpoint"),
        ("coordinator/checkpoint.py", "import numpy as np\nimport safetensors.numpy"),
        ("coordinator/store.py", "import os\nfrom coordinator.checkpoint import parse"),
        ("coordinator/metrics.py", "import os"),
        ("wire/transport.py", "import time\nimport zmq"),
        ("engine/kernels.py", "from numba import njit"),
        ("engine/lanes.py", "import numba\nfrom llvmlite import ir"),
        ("engine/vector.py", "import numpy as np\nnp.add(1.0, 2.0)"),
        ("engine/shards.py", "import random\nrng = random.Random(1)\nrng.shuffle([])"),
        ("wire/payload.py", "total = sum([1, 2])"),
        ("wire/codec.py", "x = 1\n" * 400),
        ("wire/codec.py", "def f():\n" + "    x = 1\n" * 59),
        ("engine/__init__.py", '"""Ours."""'),
    ],
)
def test_what_the_rules_allow_is_no_breach(name: str, source: str) -> None:
    assert breaches(name, source) == []


def test_a_circle_of_imports_is_found_and_named() -> None:
    circle = {
        "wire/a.py": "from wire.b import x",
        "wire/b.py": "from wire import c",
        "wire/c.py": "import wire.a",
        "wire/d.py": "import wire.a",
    }

    assert set(cycle_in(circle)) == {"wire.a", "wire.b", "wire.c"}
