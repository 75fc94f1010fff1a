"""All checks of xpnet: ``nox`` runs those that work on this machine, ``nox -s "tests(cupy)"`` runs one session.

Each session has a separate environment in which xpnet is installed as users install it.
"""

from __future__ import annotations

import ctypes.util
import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"

BACKENDS = ["numpy", "array_api_strict", "torch", "jax", "cupy"]
HAS_GPU = bool(ctypes.util.find_library("cuda") or shutil.which("nvidia-smi"))
# CuPy has no wheels for macOS. Without a GPU its names, signatures and error messages are still tested, and
# that NVIDIA's compiler accepts the kernels.
CUPY = [] if sys.platform == "darwin" else ["cupy-cuda12x>=14.1.1", "nvidia-cuda-nvrtc-cu12"]
PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
if shutil.which("pyenv"):  # it has many versions of Python, and hides those that are not chosen
    installed = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True, check=False)
    os.environ.setdefault("PYENV_VERSION", ":".join(reversed(installed.stdout.split())))


def group(name: str) -> tuple[str, ...]:
    """Return the requirements of a dependency group."""
    return nox.project.dependency_groups(PYPROJECT, name)


def is_installed(python: str) -> bool:
    """Return whether a version of Python runs on this machine."""
    found = shutil.which(f"python{python}")
    return bool(found) and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0


OTHER_PYTHONS = [python for python in PYTHONS if python != THIS_PYTHON and is_installed(python)]
nox.options.sessions = [
    "lint",
    "typecheck",
    *(f"tests({backend})" for backend in BACKENDS if backend != "cupy" or HAS_GPU),
    "coverage",
    *(f"tests-{python}" for python in OTHER_PYTHONS),
    *(["oldest"] if is_installed(PYTHONS[0]) else []),
    *(["sanitizers"] if sys.platform == "linux" and shutil.which("g++") else []),
    "examples",
]


@nox.session
def lint(session: nox.Session) -> None:
    """Run the linter and check the formatting."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def typecheck(session: nox.Session) -> None:
    """Check the types of the installed package: in the checkout, type checkers do not find xpnet.backends."""
    session.install(*group("types"), ".")
    session.chdir(session.create_tmp())
    session.run("mypy", "--config-file", f"{session.invoked_from}/pyproject.toml", "-p", "xpnet")


@nox.session
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def tests(session: nox.Session, backend: str) -> None:
    """Run the tests on one backend, on NumPy the slow ones too; arguments after -- go to pytest."""
    extra = f",{backend}" if backend in ("torch", "jax") else ""
    cupy = ["cupy-cuda12x[ctk]>=14.1.1"] if backend == "cupy" else []
    # What does not depend on the backend is tested on NumPy.
    also, slow = ([*group("clang"), *CUPY], ["--slow"]) if backend == "numpy" else ([], [])
    session.install(f".[all{extra}]", *group("test"), *also, *cupy, "--constraint", "tests/constraints.txt")
    measure = ["--cov", "--cov-report="]
    data = {"COVERAGE_FILE": str(session.cache_dir / f"coverage.{backend}")}
    session.run("pytest", "-n", "auto", *measure, *slow, "--backend", backend, *session.posargs, env=data)


@nox.session
def jax(session: nox.Session) -> None:
    """Run all tests on JAX in both precisions, which takes long; arguments after -- go to pytest."""
    session.install(".[all,jax]", *group("test"))
    session.run("pytest", "-n", "auto", "--backend", "jax", "--slow", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Report the lines and branches that the tests of all backends together have run."""
    session.install("coverage[toml]>=7.6")
    data = sorted(map(str, Path(session.cache_dir).glob("coverage.*")))
    session.env["COVERAGE_FILE"] = f"{session.create_tmp()}/combined"
    session.run("coverage", "combine", "--keep", *data)
    session.run("coverage", "report")


def python_tests(session: nox.Session) -> None:
    """Run the tests of the NumPy backend on another version of Python; arguments after -- go to pytest."""
    session.install(".[all]", *group("test"))
    session.run("pytest", "-n", "auto", "--backend", "numpy", *session.posargs)


for python in PYTHONS:
    nox.session(python_tests, name=f"tests-{python}", python=python)


@nox.session(python=PYTHONS[0])
def oldest(session: nox.Session) -> None:
    """Run the tests of the NumPy backend with the oldest Python and libraries that pyproject.toml allows."""
    project = PYPROJECT["project"]
    libraries = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    constraints = Path(session.create_tmp()) / "constraints.txt"
    # The last one is as old as that matplotlib, which knows no newer one.
    exact = [library.replace(">=", "==") for library in libraries if "[" not in library] + ["pyparsing==3.1"]
    constraints.write_text("\n".join(exact), encoding="utf-8")
    session.install(".[all]", *group("test"), "--constraint", str(constraints))
    # Old libraries warn of each other.
    session.run("pytest", "-n", "auto", "-W", "default", "--backend", "numpy", *session.posargs)


@nox.session
def sanitizers(session: nox.Session) -> None:
    """Run the printed CUDA kernels on the host, where sanitizers watch every access, and races between threads."""
    session.install(".[plot]", *group("test"))
    watched = {
        "asan": ("-fsanitize=address,undefined -fno-sanitize-recover=all", "not compile_for_gpus"),
        "tsan": ("-fsanitize=thread", "blocks and (every_training or every_part or share_long_sums)"),
    }
    for library, (flags, tests) in watched.items():
        # Python is not instrumented, and must load the library first; it does not free everything.
        names = [f"-print-file-name=lib{name}.so" for name in (library, "stdc++")]
        found = [subprocess.run(["gcc", name], capture_output=True, text=True, check=True) for name in names]
        env = {
            "LD_PRELOAD": " ".join(each.stdout.strip() for each in found),
            "ASAN_OPTIONS": "detect_leaks=0",
            "TSAN_OPTIONS": "halt_on_error=1",
            "XPNET_CXXFLAGS": flags,
        }
        session.run("pytest", "-n", "auto", "tests/test_cuda.py", "-k", tests, *session.posargs, env=env)


@nox.session
def examples(session: nox.Session) -> None:
    """Run the examples as they stand; arguments after -- go to each."""
    session.install(".[examples,sklearn]")
    for example in ("sine", "spirals", "digits", "sweep", "uncertainty", "estimators", "search"):
        pictures = f"{session.create_tmp()}/pictures"
        session.run("python", f"examples/{example}.py", "--output", pictures, *session.posargs)


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Measure how fast xpnet is beside its peers; arguments after -- go to benchmarks, as in -- --quick.

    Without arguments also measure it beside the document's code, and in ensembles.
    """
    session.install(".[plot,jit]", *group("benchmarks"))
    session.run("python", "-m", "benchmarks", *(session.posargs or ["--output", session.create_tmp()]))
    if not session.posargs:
        for benchmark in ("per_sample", "ensembles"):
            session.run("python", f"benchmarks/{benchmark}.py")


@nox.session
def stress(session: nox.Session) -> None:
    """Attack xpnet for ten minutes with calls, files, Ctrl-C and kills; arguments after -- go to tests/stress.py."""
    session.install(".[all]", *group("test"))
    session.run("python", "tests/stress.py", *session.posargs)
