"""All checks of xpnet: ``nox`` runs those that work on this machine, ``nox -s "tests(cupy)"`` runs one session.

Each session has a separate environment in which xpnet is installed as users install it.
"""

from __future__ import annotations

import ctypes.util
import shutil
import sys

import nox

nox.needs_version = ">=2024.10.9"

BACKENDS = ["numpy", "array_api_strict", "cupy"]
HAS_GPU = bool(ctypes.util.find_library("cuda") or shutil.which("nvidia-smi"))
# CuPy has no wheels for macOS. Without a GPU its names, signatures and error messages are still tested.
CUPY = [] if sys.platform == "darwin" else ["cupy-cuda12x>=14.1.1"]

nox.options.sessions = [
    "lint",
    "typecheck",
    *(f"tests({backend})" for backend in BACKENDS if backend != "cupy" or HAS_GPU),
    "examples",
]


@nox.session
def lint(session: nox.Session) -> None:
    """Run the linter and check the formatting."""
    session.install("ruff>=0.12")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def typecheck(session: nox.Session) -> None:
    """Check the types of the installed package: in the checkout, type checkers do not find xpnet.backends."""
    session.install("mypy>=1.15", ".")
    session.chdir(session.create_tmp())
    session.run("mypy", "--config-file", f"{session.invoked_from}/pyproject.toml", "-p", "xpnet")


@nox.session
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def tests(session: nox.Session, backend: str) -> None:
    """Run the tests on one backend, with the slow ones on NumPy; pytest gets the arguments after --."""
    if backend == "cupy":
        session.install(".[test,cuda12]")
    else:
        session.install(".[test]", *CUPY)
    slow = ["--slow"] if backend == "numpy" else []  # the slow tests do not depend on the backend
    session.run("pytest", *slow, "--backend", backend, *session.posargs)


@nox.session
def examples(session: nox.Session) -> None:
    """Run all examples; each gets the arguments after --."""
    session.install(".[examples,sklearn]")
    for example in ("sine", "spirals", "digits", "sweep", "uncertainty"):
        pictures = f"{session.create_tmp()}/pictures"
        session.run("python", f"examples/{example}.py", "--output", pictures, *session.posargs)


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Compare the speed of xpnet with the notebook's algorithm, and of ensembles; each gets the arguments after --."""
    session.install(".")
    for benchmark in ("per_sample", "ensembles"):
        session.run("python", f"benchmarks/{benchmark}.py", *session.posargs)


@nox.session
def stress(session: nox.Session) -> None:
    """Stress xpnet for ten minutes with calls, files, Ctrl-C and kills; tests/stress.py gets the arguments after --."""
    session.install(".[test]")
    session.run("python", "tests/stress.py", *session.posargs)
