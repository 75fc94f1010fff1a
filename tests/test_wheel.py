"""The wheel installs every module of the checkout, and nothing else, and every module can be imported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROGRAM = """
import importlib, pkgutil, sys
import xpnet
for module in pkgutil.walk_packages(xpnet.__path__, "xpnet."):
    if module.name.rpartition(".")[2] not in ("cupy_backend", "torch_backend", "jax_backend", "__main__"):
        importlib.import_module(module.name)
    print(module.name)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Build the wheel, and unpack it into a folder."""
    folder = tmp_path_factory.mktemp("wheel")
    build = ["wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder]
    subprocess.run([sys.executable, "-m", "pip", *build, copied(folder)], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "installed")
    return folder / "installed"


def copied(folder):
    """Copy the sources of the wheel, because the build writes files beside them."""
    checkout = folder / "checkout"
    for package in ("xpnet", "backends"):
        shutil.copytree(ROOT / package, checkout / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, checkout)
    return checkout


def modules(folder, prefix):
    files = [path.relative_to(folder).with_suffix("") for path in folder.rglob("*.py")]
    names = [".".join([prefix, *path.parts]).removesuffix(".__init__") for path in files]
    return {name for name in names if name != "xpnet"}


def test_every_module_is_installed_and_can_be_imported(installed):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd=installed,
    )
    found = set(result.stdout.split())
    assert found == modules(ROOT / "xpnet", "xpnet") | modules(ROOT / "backends", "xpnet.backends")
    assert len(found) > 40


def test_nothing_else_is_installed(installed):
    assert sorted(path.name for path in installed.iterdir() if "dist-info" not in path.name) == ["xpnet"]
    assert (installed / "xpnet" / "py.typed").exists()
