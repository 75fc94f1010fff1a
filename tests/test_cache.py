"""A kernel is compiled once for all processes, in a folder that nobody else can write to; without it, in memory."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")
from xpnet.backends import CannotCompile
from xpnet.backends.compiled import cache

TEXT = """from numba import njit

@njit(nogil=True, cache=True)
def kernel(x):
    for i in range(x.size):
        x[i] += 1.0
"""
PROGRAM = f"""
import numpy as np
from xpnet.backends.compiled.cache import load
x = np.zeros(2)
load({TEXT!r}, (np.zeros(0),))(x)
print(x.tolist())
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    folder = tmp_path / "caches" / "xpnet"
    monkeypatch.setenv("XPNET_CACHE_DIR", str(folder))
    return folder


@pytest.fixture
def forget(monkeypatch):
    """Return a function that forgets the kernels in memory, as a new process does."""

    def forget():
        for name in [name for name in sys.modules if name.startswith(cache.PREFIX)]:
            monkeypatch.delitem(sys.modules, name)

    forget()
    return forget


def compiled(text=TEXT):
    """Load the kernel, and check what it does."""
    kernel, x = cache.load(text, (np.zeros(0),)), np.zeros(2)
    kernel(x)
    assert x.tolist() == [1.0, 1.0]
    return kernel


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} if folder.is_dir() else {}


def suffixes(folder):
    """Return the kinds of files that belong to kernels: the text, and what Numba makes of it."""
    return sorted(path.suffix for path in files(folder) if path.suffix != ".pyc")


def in_a_new_process(folder):
    """Return what a new process prints that loads the kernel."""
    environment = {**os.environ, "XPNET_CACHE_DIR": str(folder)}
    process = subprocess.Popen([sys.executable, "-W", "error", "-c", PROGRAM], env=environment, stdout=-1, text=True)
    return lambda: process.communicate()[0].strip()


def test_the_folder_is_that_of_the_variable_else_of_the_users_caches(folder, monkeypatch):
    assert cache.cache_folder() == folder
    monkeypatch.delenv("XPNET_CACHE_DIR")
    assert cache.cache_folder().name == "xpnet"
    assert cache.cache_folder() != folder


def test_kernels_are_stored_in_a_folder_of_the_user_alone(folder, forget):
    compiled()
    assert suffixes(folder) == [".nbc", ".nbi", ".py"]
    if hasattr(os, "getuid"):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_kernel_is_compiled_once_in_a_process(folder, forget):
    assert compiled() is compiled()
    before = files(folder)
    compiled()
    assert files(folder) == before


def test_threads_that_ask_at_once_get_the_same_kernel(folder, forget):
    found = []
    threads = [threading.Thread(target=lambda: found.append(compiled())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(map(id, found))) == 1


def test_other_processes_do_not_compile_again(folder, forget):
    """Neither two at once, once both have compiled, nor one that comes later."""
    both = [in_a_new_process(folder) for _ in range(2)]
    assert [result() for result in both] == ["[1.0, 1.0]"] * 2
    compiled()  # what one of the two has made may belong to the file of the other
    before = files(folder)
    assert in_a_new_process(folder)() == "[1.0, 1.0]"
    assert files(folder) == before


DAMAGE = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"\xff\xfe garbage \x00" * 20),
    "missing": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_files_are_made_anew(damage, folder, forget):
    compiled()
    for suffix in (".nbi", ".nbc", ".py"):
        path = next(path for path in files(folder) if path.suffix == suffix)
        damage(path)
        forget()
        compiled()
        assert suffixes(folder).count(".py") == suffixes(folder).count(".nbi") == 1
        before = files(folder)
        forget()
        compiled()
        assert files(folder) == before, suffix


def no_folder(folder):
    folder.parent.mkdir(parents=True)
    folder.write_text("a file")


def writable_by_others(folder):
    folder.mkdir(parents=True)
    folder.chmod(0o777)


def read_only(folder):
    folder.mkdir(parents=True)
    folder.chmod(0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write everywhere")


def below_a_file(folder):
    folder.parent.parent.mkdir(parents=True, exist_ok=True)
    folder.parent.write_text("a file")


UNUSABLE = {
    "a file in its place": no_folder,
    "a file above it": below_a_file,
    "writable by others": writable_by_others,
    "not writable": read_only,
}


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="the folder's mode says nothing here")
@pytest.mark.parametrize("prepare", UNUSABLE.values(), ids=UNUSABLE)
def test_without_a_folder_kernels_are_compiled_in_memory(prepare, folder, forget):
    prepare(folder)
    compiled()
    assert not files(folder)


def test_a_folder_of_another_user_is_not_used(folder, forget, monkeypatch):
    if not hasattr(os, "getuid"):
        pytest.skip("no users")
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    compiled()
    assert not files(folder)


def test_a_folder_that_fills_up_is_not_needed(folder, forget, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.tempfile, "mkstemp", full)
    compiled()
    assert not files(folder)


@pytest.mark.parametrize("usable", [True, False], ids=["on disk", "in memory"])
def test_ctrl_c_while_a_kernel_is_made_leaves_nothing_half_made(usable, folder, forget):
    interrupted = "raise KeyboardInterrupt\n" + TEXT
    if not usable:
        no_folder(folder)
    with pytest.raises(KeyboardInterrupt):
        cache.load(interrupted, (np.zeros(0),))
    assert not [name for name in sys.modules if name.startswith(cache.PREFIX)]
    compiled()


def test_what_numba_does_not_compile_is_said(folder, forget):
    with pytest.raises(CannotCompile, match="Numba does not compile the step: "):
        cache.load(TEXT.replace("1.0", "'text'"), (np.zeros(0),))
    assert not [name for name in sys.modules if name.startswith(cache.PREFIX)]


def test_another_version_of_numba_or_of_the_functions_is_another_kernel(monkeypatch):
    name = cache._name_of(TEXT)
    assert name == cache._name_of(TEXT)
    assert name != cache._name_of(TEXT + "\n")
    monkeypatch.setattr(cache, "version", lambda library: "0.0")
    cache._environment.cache_clear()
    try:
        assert name != cache._name_of(TEXT)
    finally:
        cache._environment.cache_clear()
