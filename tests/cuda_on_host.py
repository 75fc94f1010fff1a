"""The CUDA C that the compiler prints, built by the host's C++ compiler: a launch is a loop over the threads."""

from __future__ import annotations

import ctypes
import importlib.util
import itertools
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

THREADS = 3
"""The threads of a block that trains one network: real threads, which wait for each other at barriers."""

SHIM = """\
#include <cmath>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <thread>
#include <vector>
using std::isfinite;
using std::isinf;
using std::isnan;
static inline int min(int x, int y) { return x < y ? x : y; }
#define __global__
#define __device__
#define __shared__
#define __align__(n)
struct Place { int x; };
static thread_local Place blockIdx, threadIdx;
static Place blockDim;
alignas(16) unsigned char memory[232448];
static std::mutex mutex;
static std::condition_variable all_arrived;
static int arrived, generation, agreed = 1, result;
static int __syncthreads_and(int value)
{
    std::unique_lock<std::mutex> lock(mutex);
    agreed = agreed && value;
    const int mine = generation;
    if (++arrived == blockDim.x) {
        result = agreed;
        agreed = 1;
        arrived = 0;
        generation++;
        all_arrived.notify_all();
    } else {
        all_arrived.wait(lock, [mine] { return generation != mine; });
    }
    return result;
}
static inline void __syncthreads() { __syncthreads_and(1); }
template <class Function> static void launch(int blocks, int threads, int in_threads, Function function)
{
    blockDim.x = threads;
    for (int block = 0; block < blocks; block++) {
        std::vector<std::thread> running;
        for (int thread = 0; thread < threads; thread++) {
            auto run = [=] {
                blockIdx.x = block;
                threadIdx.x = thread;
                function();
            };
            if (in_threads)
                running.emplace_back(run);
            else
                run();
        }
        for (auto &each : running)
            each.join();
    }
}
"""
FLAGS = ["-std=c++14", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-Wno-sign-compare"]
FLAGS += ["-Wno-unused-function", "-O1"]
FLAGS += os.environ.get("XPNET_CXXFLAGS", "").split()  # those of sanitizers
MISSING = None if shutil.which("g++") else "g++ is not installed"


def load(source):
    """Return the launch function of a module, as `CudaCompiler` loads it; the arrays are NumPy's."""
    library = built(source)

    def launch(function, blocks, threads, shared_bytes, arguments):
        assert shared_bytes <= 232448
        is_block = shared_bytes > 0
        call = getattr(library, f"launch_{function}")
        call(blocks, THREADS if is_block else threads, int(is_block), *map(converted, arguments))

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
        launches.append(f'extern "C" void launch_{name}(int blocks, int threads, int in_threads, {parameters})')
        launches.append(f"{{\n    launch(blocks, threads, in_threads, [=] {{ {name}({names}); }});\n}}")
    with tempfile.TemporaryDirectory() as folder:
        code, library = Path(folder) / "kernel.cpp", Path(folder) / "kernel.so"
        code.write_text("\n".join([SHIM, source, *launches, ""]))
        subprocess.run(["g++", *FLAGS, "-pthread", "-fPIC", "-shared", code, "-o", library], check=True)
        return ctypes.CDLL(library)


def nvrtc():
    """Return NVIDIA's runtime compiler, or None; it needs no GPU."""
    spec = importlib.util.find_spec("nvidia")
    folders = [] if spec is None else [Path(folder) for folder in spec.submodule_search_locations]
    found = itertools.chain.from_iterable(folder.glob("cu*/lib/libnvrtc.so.*") for folder in folders)
    path = next(iter(sorted(found)), None)
    return path and ctypes.CDLL(path)


def summary():
    """Return what is tested of the CUDA kernels on this machine, as text."""
    run = "run on the CPU" if MISSING is None else f"NOT RUN, {MISSING}"
    missing = ", nvidia-cuda-nvrtc-cu12 is not installed" if nvrtc() is None else ""
    return f"{run}; {'NOT ' * bool(missing)}compiled for GPUs{missing}"
