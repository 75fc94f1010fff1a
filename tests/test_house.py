"""The house keeps its rules: who may import whom, and what may compute with what."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = sorted(path.stem for path in (ROOT / "xpnet").glob("*.py"))

# A room imports only from floors below its own. `backends` stands on the ground too and imports nothing of xpnet.
FLOORS = [
    {"_types"},
    {"callbacks", "files", "plotting", "validation"},
    {"activations", "history", "initializers", "lbfgs", "metrics", "optimizers", "schedules"},
    {"losses", "propagation", "transfer"},
    {"data", "onnx_export", "parameters", "regularization"},
    {"training"},
    {"early_stopping", "model"},
    {"following", "predictor"},
    {"network"},
    {"checkpoints", "gradient_check"},
    {"__init__", "__main__"},
]


def imports(path: Path) -> set[str]:
    """Return the absolute names of all modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_every_room_has_its_floor():
    assert sorted(room for floor in FLOORS for room in floor) == ROOMS


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_floors_below(room):
    floor = next(i for i, rooms in enumerate(FLOORS) if room in rooms)
    below = {other for rooms in FLOORS[:floor] for other in rooms} | {"backends"} | {"__version__"}
    for name in imports(ROOT / "xpnet" / f"{room}.py"):
        package, _, rest = name.partition(".")
        if package == "xpnet":
            assert rest.partition(".")[0] in below, f"{room} imports {name}"


@pytest.mark.parametrize("room", ROOMS)
def test_no_room_imports_an_array_library(room):
    theirs = {
        "plotting": {"matplotlib"},
        "checkpoints": {"safetensors"},
        "following": {"tqdm"},
        "lbfgs": {"scipy"},
        "onnx_export": {"ndonnx", "spox"},
    }
    allowed = set(sys.stdlib_module_names) | {"xpnet"} | theirs.get(room, set())
    assert {name.partition(".")[0] for name in imports(ROOT / "xpnet" / f"{room}.py")} <= allowed


@pytest.mark.parametrize("path", sorted((ROOT / "backends").glob("*.py")), ids=lambda path: path.stem)
def test_backends_import_nothing_of_the_rest(path):
    for name in imports(path):
        assert not name.startswith("xpnet") or name.startswith("xpnet.backends"), f"{path.stem} imports {name}"


def test_the_checkout_can_be_used_from_within():
    """There Python finds xpnet/ before the installed package, and backends/ beside it."""
    program = "import xpnet.backends; print(xpnet.__file__, xpnet.get_backend('cpu').name)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.split() == [str(ROOT / "xpnet" / "__init__.py"), "numpy"]


def test_every_room_that_computes_has_tests():
    tested = {path.stem.removeprefix("test_") for path in (ROOT / "tests").glob("test_*.py")}
    # These are tested where they are used.
    elsewhere = {"_types", "__init__", "__main__", "files", "predictor", "transfer", "validation"}
    assert set(ROOMS) - elsewhere <= tested


def test_the_command_of_ci_is_the_one_in_the_readme():
    command = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if "nox" in line]
    assert len(command) == 1
    assert command[0] in (ROOT / "README.md").read_text()
