"""The house keeps its rules: who may import whom, and what may compute with what."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "xpnet"

# A room imports only from floors below its own; in a folder, only from rooms before it in the order given here, which
# is the one to read them in. `backends` stands on the ground too and imports nothing of xpnet.
FLOORS = [
    ["_types"],
    ["_checks", "plotting", "summary"],
    ["activations", "initializers", "optimizers", "schedules", "callbacks", "data"],
    ["losses", "metrics"],
    ["core"],
    ["predictor"],
    ["by_hand", "training"],
    ["network"],
    ["storage", "gradient_check"],
    ["__init__", "__main__"],
]
FOLDERS = {
    "data": ["__init__", "placement", "samples", "incoming"],
    "core": [
        *(
            "__init__",
            "contracts",
            "parameters",
            "settings",
            "regularization",
            "propagation",
            "step",
            "epochs",
            "members",
        ),
    ],
    "training": [
        *("__init__", "history", "early_stopping", "options", "reports", "progress", "lbfgs", "run", "loop"),
    ],
    "storage": ["__init__", "files", "checkpoints", "onnx"],
}
ROOMS = sorted(".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in PACKAGE.rglob("*.py"))


def path_of(room: str) -> Path:
    return PACKAGE.joinpath(*room.split(".")).with_suffix(".py")


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
    rooms = [room for floor in FLOORS for room in floor if room not in FOLDERS]
    rooms += [f"{folder}.{room}" for folder, inside in FOLDERS.items() for room in inside]
    assert sorted(rooms) == ROOMS
    assert len(ROOMS) > 30


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_floors_below(room):
    folder, _, inside = room.rpartition(".")
    floor = next(i for i, rooms in enumerate(FLOORS) if (folder or room) in rooms)
    below = {other for rooms in FLOORS[:floor] for other in rooms} | {"backends", "__version__"}
    before = set(FOLDERS[folder][: FOLDERS[folder].index(inside)]) if folder else set()
    for name in imports(path_of(room)):
        package, _, rest = name.partition(".")
        first, _, second = rest.partition(".")
        if package == "xpnet":
            assert first in below or (first == folder and second.partition(".")[0] in before), f"{room} imports {name}"


def test_the_readme_and_the_design_show_the_same_house():
    readme, design = (
        next(block for block in (ROOT / file).read_text(encoding="utf-8").split("```") if "xpnet/  " in block)
        for file in ("README.md", "docs/design.md")
    )
    assert readme == design
    for floor, rooms in enumerate(FLOORS[1:-1], start=1):
        lines = [line for line in readme.splitlines() if line.endswith(f" {floor}")]
        for room in rooms:
            assert any(re.search(rf"\b{room}\b", line) for line in lines), f"{room} on floor {floor}"
    for inside in FOLDERS.values():
        assert all(re.search(rf"\b{room}\b", readme) for room in inside[1:])


@pytest.mark.parametrize("room", ROOMS)
def test_no_room_imports_an_array_library(room):
    theirs = {
        "plotting": {"matplotlib"},
        "storage.checkpoints": {"safetensors"},
        "storage.onnx": {"ndonnx", "spox"},
        "training.lbfgs": {"scipy"},
        "training.reports": {"tqdm"},
    }
    allowed = set(sys.stdlib_module_names) | {"xpnet"} | theirs.get(room, set())
    assert {name.partition(".")[0] for name in imports(path_of(room))} <= allowed


@pytest.mark.parametrize("path", sorted((ROOT / "backends").rglob("*.py")), ids=lambda path: path.stem)
def test_backends_import_nothing_of_the_rest(path):
    for name in imports(path):
        assert not name.startswith("xpnet") or name.startswith("xpnet.backends"), f"{path.stem} imports {name}"


def test_the_checkout_can_be_used_from_within():
    """There Python finds xpnet/ before the installed package, and backends/ beside it; and nothing else."""
    program = """
import importlib.util, xpnet.backends
found = [name for name in ("tests", "xpnet", "examples", "noxfile") if importlib.util.find_spec(f"xpnet.{name}")]
print(xpnet.__file__, xpnet.get_backend("cpu").name, found)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.split() == [str(ROOT / "xpnet" / "__init__.py"), "numpy", "[]"]


def test_every_room_that_computes_has_tests():
    tested = {path.stem.removeprefix("test_") for path in (ROOT / "tests").glob("test_*.py")}
    # These are tested where they are used.
    elsewhere = {"_types", "_checks", "__init__", "__main__", "files", "placement", "incoming", "options", "progress"}
    assert {room.rpartition(".")[2] for room in ROOMS} - elsewhere <= tested


# What people choose from, and what else of it is for the rest of the package.
CHOICES = {
    "activations": set(),
    "callbacks": {"as_callbacks"},
    "initializers": set(),
    "losses": {"sample_losses"},
    "metrics": {"classes_of", "metrics_by_name"},
    "optimizers": {"OptimizerState", "kind_of"},
    "plotting": set(),
    "schedules": set(),
    "summary": {"name_of", "of_network"},
}


@pytest.mark.parametrize("room", CHOICES)
def test_what_people_choose_from_offers_its_own_names_alone(room):
    defined = set()
    for node in ast.parse(path_of(room).read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            defined.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            defined |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    public = {name for name in defined if not name.startswith("_")}
    assert set(importlib.import_module(f"xpnet.{room}").__all__) == public - CHOICES[room]


def test_the_command_of_ci_is_the_one_in_the_readme():
    command = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if "nox" in line]
    assert len(command) == 1
    assert command[0] in (ROOT / "README.md").read_text()
