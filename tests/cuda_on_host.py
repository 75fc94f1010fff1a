"""The CUDA C that the compiler prints, built by the host's C++ compiler: a launch is a loop over the threads."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from xpnet.backends.compiled.cuda_compiler import CudaCompiler
from xpnet.backends.numpy_backend import NumpyBackend

SHIM = """\
#include <cmath>
#include <cstddef>
using std::isfinite;
using std::isinf;
using std::isnan;
static inline int min(int x, int y) { return x < y ? x : y; }
#define __global__
#define __device__
struct Place { int x; };
static Place blockIdx, blockDim = {64}, threadIdx;
"""
FLAGS = ["-std=c++14", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-Wno-sign-compare", "-O1"]
FLAGS += os.environ.get("XPNET_CXXFLAGS", "").split()  # those of sanitizers
MISSING = None if shutil.which("g++") else "g++ is not installed"


def load(source):
    """Return the launch function of a module, as `CudaCompiler` loads it; the arrays are NumPy's."""
    library = built(source)

    def launch(function, threads, arguments):
        call = getattr(library, f"launch_{function}")
        call(-(-threads // 64), *map(converted, arguments))

    return launch


def converted(argument):
    if isinstance(argument, np.ndarray):
        assert argument.flags.c_contiguous
        return ctypes.c_void_p(argument.ctypes.data)
    return {"i": ctypes.c_int, "u": ctypes.c_uint, "f": ctypes.c_double}[argument.dtype.kind](argument)


@cache
def built(source):
    """Return the library of a module, with a function that launches each of its kernels."""
    launches = []
    for name, parameters in re.findall(r"__global__ void (\w+)\((.*?)\)\n\{", source, re.DOTALL):
        names = ", ".join(re.findall(r"(\w+)(?:,|$)", parameters))
        launches.append(f'extern "C" void launch_{name}(int blocks, {parameters})\n{{')
        launches.append("    for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++)")
        launches.append("        for (threadIdx.x = 0; threadIdx.x < blockDim.x; threadIdx.x++)")
        launches.append(f"            {name}({names});\n}}")
    folder = Path(tempfile.gettempdir()) / f"xpnet-{hashlib.sha256(repr((source, FLAGS)).encode()).hexdigest()[:16]}"
    folder.mkdir(exist_ok=True)
    (folder / "kernel.cpp").write_text("\n".join([SHIM, source, *launches, ""]))
    command = ["g++", *FLAGS, "-fPIC", "-shared", folder / "kernel.cpp", "-o", folder / "kernel.so"]
    subprocess.run(command, check=True)
    return ctypes.CDLL(folder / "kernel.so")


def compiler(announce=None):
    """Return a compiler for the host, in place of that of the backend."""
    return CudaCompiler(NumpyBackend("cpu"), load)
