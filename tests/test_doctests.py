"""What the docstrings show can be run as it stands."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import pytest

import xpnet

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
NAMES = {
    module.name
    for package in (xpnet, xpnet.backends)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
}
NOT_INSTALLED = ("cupy_backend", "torch_backend", "jax_backend")  # their libraries may not be
MODULES = [importlib.import_module(name) for name in sorted(NAMES) if not name.endswith(("__main__", *NOT_INSTALLED))]
PUBLIC = [module for module in (xpnet, *MODULES) if hasattr(module, "__all__")]


def documented() -> list[tuple[str, object]]:
    """Every public function and class, and the public methods of the classes that are returned to users."""
    found: dict[str, object] = {}
    for module in PUBLIC:
        for name in module.__all__:
            member = getattr(module, name)
            if (inspect.isfunction(member) or inspect.isclass(member)) and not issubclass_of_error(member):
                found[f"{member.__module__}.{member.__qualname__}"] = member
    for name, member in inspect.getmembers(xpnet.NeuralNetwork):
        if not name.startswith("_") and inspect.isfunction(member):
            found[f"NeuralNetwork.{name}"] = member
    return sorted(found.items())


def issubclass_of_error(member: object) -> bool:
    return inspect.isclass(member) and issubclass(member, BaseException)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_examples_of_a_module_show_what_happens(module, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(module, optionflags=OPTIONS).failed == 0


@pytest.mark.parametrize(("name", "member"), documented(), ids=lambda value: value if isinstance(value, str) else "")
def test_everything_public_has_an_example(name, member):
    assert doctest.DocTestFinder(recurse=False).find(member, name)[0].examples, f"{name} has no example"
