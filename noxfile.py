"""Everything that is run on xpnet; ``nox`` runs what this machine can, ``nox -s "tests(cupy)"`` one session.

Each session has an environment of its own, with xpnet installed into it as its users install it.
"""

from __future__ import annotations

import ctypes.util
import shutil
import sys

import nox

nox.needs_version = ">=2024.10.9"

BACKENDS = ["numpy", "array_api_strict", "cupy"]
HAS_GPU = bool(ctypes.util.find_library("cuda") or shutil.which("nvidia-smi"))
# CuPy has no wheels for macOS. Without a GPU its names, signatures and error messages are tested all the same.
CUPY = [] if sys.platform == "darwin" else ["cupy-cuda12x>=14.1.1"]

nox.options.sessions = [
    "lint",
    "typecheck",
    *(f"tests({backend})" for backend in BACKENDS if backend != "cupy" or HAS_GPU),
    "examples",
]


@nox.session
def lint(session: nox.Session) -> None:
    """Look for mistakes and untidy code."""
    session.install("ruff>=0.12")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def typecheck(session: nox.Session) -> None:
    """Check the types of the installed package: the checkout keeps xpnet.backends elsewhere than type checkers look."""
    session.install("mypy>=1.15", ".")
    session.chdir(session.create_tmp())
    session.run("mypy", "--config-file", f"{session.invoked_from}/pyproject.toml", "-p", "xpnet")


@nox.session
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def tests(session: nox.Session, backend: str) -> None:
    """Run the tests on one backend, on NumPy the slow ones too; arguments after -- go to pytest."""
    if backend == "cupy":
        session.install(".[test,cuda12]")
    else:
        session.install(".[test]", *CUPY)
    slow = ["--slow"] if backend == "numpy" else []  # they do not depend on the backend
    session.run("pytest", *slow, "--backend", backend, *session.posargs)


@nox.session
def examples(session: nox.Session) -> None:
    """Run the examples as they stand; arguments after -- go to each."""
    session.install(".[examples,sklearn]")
    for example in ("sine", "spirals", "digits", "sweep", "uncertainty"):
        pictures = f"{session.create_tmp()}/pictures"
        session.run("python", f"examples/{example}.py", "--output", pictures, *session.posargs)


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Measure how fast xpnet is beside the document's code, and together; arguments after -- go to each."""
    session.install(".")
    for benchmark in ("per_sample", "ensembles"):
        session.run("python", f"benchmarks/{benchmark}.py", *session.posargs)


@nox.session
def stress(session: nox.Session) -> None:
    """Attack xpnet for ten minutes with calls, files, Ctrl-C and kills; arguments after -- go to tests/stress.py."""
    session.install(".[test]")
    session.run("python", "tests/stress.py", *session.posargs)
