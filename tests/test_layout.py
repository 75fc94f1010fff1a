"""The layout of the repository: which modules may import which, and which names are public."""

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

# A module imports only from levels below its own. Within a subpackage, a module imports only from modules before it in
# the order given here, which is the reading order. `backends` is below all levels and imports nothing from xpnet.
LEVELS = [
    ["_types"],
    ["_checks", "plotting", "summary"],
    ["activations", "initializers", "optimizers", "schedules", "callbacks", "data"],
    ["losses", "metrics"],
    ["core"],
    ["predictor"],
    ["by_hand", "training"],
    ["network"],
    ["storage", "gradient_check", "estimators"],
    ["__init__", "__main__"],
]
SUBPACKAGES = {
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
    "estimators": ["rules", "fitting", "handover", "base", "mlp", "search", "intervals", "__init__"],
    "storage": ["__init__", "files", "checkpoints", "exporting", "onnx", "c99"],
}
MODULES = sorted(".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in PACKAGE.rglob("*.py"))


def path_of(module: str) -> Path:
    return PACKAGE.joinpath(*module.split(".")).with_suffix(".py")


def imports(path: Path) -> set[str]:
    """Return the absolute names of all modules that a file imports, at any depth."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_every_module_has_a_level():
    modules = [module for level in LEVELS for module in level if module not in SUBPACKAGES]
    modules += [f"{package}.{module}" for package, inside in SUBPACKAGES.items() for module in inside]
    assert sorted(modules) == MODULES
    assert len(MODULES) > 30


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_levels_below(module):
    subpackage, _, inside = module.rpartition(".")
    level = next(i for i, modules in enumerate(LEVELS) if (subpackage or module) in modules)
    below = {other for modules in LEVELS[:level] for other in modules} | {"backends", "__version__"}
    before = set(SUBPACKAGES[subpackage][: SUBPACKAGES[subpackage].index(inside)]) if subpackage else set()
    for name in imports(path_of(module)):
        package, _, rest = name.partition(".")
        first, _, second = rest.partition(".")
        if package == "xpnet":
            assert first in below or (first == subpackage and second.partition(".")[0] in before), (
                f"{module} imports {name}"
            )


def test_the_readme_and_the_design_page_show_the_same_layout():
    readme, design = (
        next(block for block in (ROOT / file).read_text(encoding="utf-8").split("```") if "xpnet/  " in block)
        for file in ("README.md", "docs/design.md")
    )
    assert readme == design
    for level, modules in enumerate(LEVELS[1:-1], start=1):
        lines = [line for line in readme.splitlines() if line.endswith(f" {level}")]
        for module in modules:
            assert any(re.search(rf"\b{module}\b", line) for line in lines), f"{module} at level {level}"
    for inside in SUBPACKAGES.values():
        assert all(re.search(rf"\b{module}\b", readme) for module in inside if module != "__init__")


@pytest.mark.parametrize("module", MODULES)
def test_no_module_imports_an_array_library(module):
    optional = {
        "plotting": {"matplotlib"},
        "estimators.handover": {"scipy"},
        "estimators.base": {"scipy", "sklearn", "tqdm"},
        "estimators.mlp": {"scipy", "sklearn"},
        "estimators.search": {"joblib", "sklearn", "threadpoolctl"},
        "estimators.intervals": {"sklearn"},
        "storage.checkpoints": {"safetensors"},
        "storage.onnx": {"ndonnx", "spox"},
        "training.lbfgs": {"scipy"},
        "training.reports": {"tqdm"},
    }
    allowed = set(sys.stdlib_module_names) | {"xpnet"} | optional.get(module, set())
    assert {name.partition(".")[0] for name in imports(path_of(module))} <= allowed


@pytest.mark.parametrize("path", sorted((ROOT / "backends").rglob("*.py")), ids=lambda path: path.stem)
def test_backends_import_nothing_else_from_xpnet(path):
    for name in imports(path):
        assert not name.startswith("xpnet") or name.startswith("xpnet.backends"), f"{path.stem} imports {name}"


def test_xpnet_can_be_imported_in_the_checkout():
    """In the checkout, Python finds xpnet/ before the installed package; xpnet finds backends/ and nothing else."""
    program = """
import importlib.util, xpnet.backends
found = [name for name in ("tests", "xpnet", "examples", "noxfile") if importlib.util.find_spec(f"xpnet.{name}")]
print(xpnet.__file__, xpnet.get_backend("cpu").name, found)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.split() == [str(ROOT / "xpnet" / "__init__.py"), "numpy", "[]"]


def test_every_module_that_computes_has_a_test_file():
    tested = {path.stem.removeprefix("test_") for path in (ROOT / "tests").glob("test_*.py")}
    # These modules are tested through the modules that use them.
    elsewhere = {"_types", "_checks", "__init__", "__main__", "files", "exporting", "placement", "incoming", "options"}
    elsewhere |= {"base", "progress"}
    assert {module.rpartition(".")[2] for module in MODULES} - elsewhere <= tested


# The modules that users choose components from, and the names in each that only the package itself uses.
CHOICES = {
    "activations": set(),
    "callbacks": {"as_callbacks"},
    "initializers": set(),
    "losses": {"sample_losses"},
    "metrics": {"argmax_of_outputs", "classes_of", "metrics_by_name"},
    "optimizers": {"OptimizerState", "kind_of"},
    "plotting": set(),
    "schedules": set(),
    "summary": {"name_of", "of_network", "parameters_of"},
}


@pytest.mark.parametrize("module", CHOICES)
def test_all_lists_exactly_the_public_names(module):
    defined = set()
    for node in ast.parse(path_of(module).read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            defined.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            defined |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    public = {name for name in defined if not name.startswith("_")}
    assert set(importlib.import_module(f"xpnet.{module}").__all__) == public - CHOICES[module]


def test_ci_runs_the_command_in_the_readme():
    command = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if "nox" in line]
    assert len(command) == 1
    assert command[0] in (ROOT / "README.md").read_text()
