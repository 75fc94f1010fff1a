"""Processes that do the work: one for each peer, because their libraries' pools of threads fight within one process.

    python -m benchmarks.workers PEER CASE EPOCHS [twice]

trains once or twice in a fresh process, where CASE is a `Case` as JSON, and prints the losses and the seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import Case, Variant

ROOT = Path(__file__).parent.parent
CHECKED_EPOCHS = 2  # after which the losses are compared
ENDED = "its process ended"
PREPARED_WITHIN = 600  # seconds, compiling included


class Failed(Exception):
    """A peer cannot do the work."""


def environment_of_workers(threads: int, caches: str, device: str) -> dict[str, str]:
    """Return the environment variables that give every library as many threads, caches of its own, and a device."""
    pools = ("OMP", "OPENBLAS", "MKL", "NUMBA")
    return {
        **{f"{pool}_NUM_THREADS": str(threads) for pool in pools},
        "XPNET_CACHE_DIR": f"{caches}/xpnet",
        "TORCHINDUCTOR_CACHE_DIR": f"{caches}/inductor",
        # The processes share the GPU, all of whose memory JAX would take otherwise.
        **({"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"} if device == "cpu" else {}),
        **({"XLA_PYTHON_CLIENT_PREALLOCATE": "false"} if device == "cuda" else {}),
    }


def seeded_orders(case: Case) -> Any:
    """Return the orders that xpnet draws for the networks with the seeds 0, 1, …"""
    from xpnet.backends import Stream
    from xpnet.backends.streams import epoch_keys, permutations, seed_keys

    keys = seed_keys(range(case.networks or 1), Stream.SHUFFLING)
    return lambda epoch: permutations(epoch_keys(keys, epoch), case.samples)


def drawn_orders(case: Case) -> Any:
    """Return orders drawn by one generator for all networks, which takes less time."""
    rng, rows = np.random.default_rng(0), np.tile(np.arange(case.samples), (case.networks or 1, 1))
    return lambda epoch: rng.permuted(rows, axis=1)


def _timed(function: Any, *args: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    result = function(*args)
    return time.perf_counter() - start, result


def _epochs_within(seconds: float, train: Any) -> int:
    """Return how many epochs take so many seconds, without what the start of a call takes."""
    start, epochs, spent = train(1), 1, 0.0
    while start < max(2 * seconds, 0.5) and spent < seconds / 2:
        epochs *= 4
        spent = train(epochs) - start
    return max(round((epochs - 1) * seconds / spent), 1) if epochs > 1 else 1


def _serve(connection: Any, name: str, case: Case, seconds: float) -> None:
    """Train once to compile and to know the losses, then each time that the controller says so."""
    try:
        from benchmarks.peers import PEERS

        peer = PEERS[name](case)
        first, losses = _timed(peer.train, CHECKED_EPOCHS, seeded_orders(case))
        orders = drawn_orders(case)
        epochs = _epochs_within(seconds, lambda epochs: _timed(peer.train, epochs, orders)[0]) if seconds else 1
        connection.send(
            {"losses": losses, "networks": peer.networks, "other": peer.other, "epochs": epochs, "first": first}
        )
        while connection.recv() == "run":
            connection.send(_timed(peer.train, epochs, orders)[0])
    except Exception as error:
        connection.send(Failed(f"{type(error).__name__}: {str(error).strip().splitlines()[:1]}"))


class Worker:
    """A process that stays alive and does the work of a variant whenever it is told to.

    Parameters
    ----------
    variant : Variant
        What it does.
    seconds : float
        About how long to train at a time.
    """

    def __init__(self, variant: Variant, seconds: float) -> None:
        context = get_context("spawn")
        self._connection, other = context.Pipe()
        arguments = (other, variant.peer, variant.case, 0.0 if variant.measure == "call" else seconds)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        other.close()
        try:
            self.facts = self._answer()
        except Failed:
            self.close()
            raise
        steps = self.facts["epochs"] * variant.case.steps * self.facts["networks"]
        self._parts = 1 if variant.measure == "call" else steps

    def run(self) -> float:
        """Return the seconds of a step of one network, or of a call."""
        try:
            self._connection.send("run")
        except OSError:
            raise Failed(ENDED) from None
        return self._answer() / self._parts

    def _answer(self) -> Any:
        if not self._connection.poll(PREPARED_WITHIN):
            msg = f"no answer within {PREPARED_WITHIN} seconds"
            raise Failed(msg)
        try:
            answer = self._connection.recv()
        except (EOFError, OSError):
            raise Failed(ENDED) from None
        if isinstance(answer, Failed):
            raise answer
        return answer

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self._connection.send("stop")
        self._process.join(10)
        self._process.kill()
        self._process.join()
        self._connection.close()


class Fresh:
    """Does the work of a variant in a fresh process each time, and has the interface of `Worker`."""

    def __init__(self, variant: Variant) -> None:
        self._variant = variant
        self.facts: dict[str, Any] = {"networks": 1, "other": "", "epochs": variant.epochs}
        if not variant.cold:
            self.run()  # fills the caches

    def run(self) -> float:
        """Return the seconds of what the variant measures."""
        variant = self._variant
        if variant.measure == "import":
            return self._process([sys.executable, "-c", variant.peer])[0]
        case = json.dumps(asdict(variant.case))
        command = [sys.executable, "-m", "benchmarks.workers", variant.peer, case, str(variant.epochs)]
        if variant.measure == "first call":
            command.append("twice")
        seconds, output = self._process(command)
        answer = json.loads(output.splitlines()[-1])
        if variant.measure == "first call":
            return float(answer["seconds"][0] - answer["seconds"][1])
        self.facts |= {"losses": np.array(answer["losses"]), "other": answer["other"]}
        return seconds

    def _process(self, command: list[str]) -> tuple[float, str]:
        with tempfile.TemporaryDirectory() as empty:
            environment = dict(os.environ)
            if self._variant.cold:
                environment |= environment_of_workers(
                    int(os.environ["OMP_NUM_THREADS"]), empty, self._variant.case.device
                )
            seconds, done = _timed(
                lambda: subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
            )
        if done.returncode:
            msg = (done.stderr.strip().splitlines() or ["it failed"])[-1]
            raise Failed(msg)
        return seconds, done.stdout

    def close(self) -> None:
        """There is no process left."""


def _once(name: str, case: str, epochs: str, *twice: str) -> None:
    from benchmarks.peers import PEERS

    values = json.loads(case)
    work = replace(Case(**values), layers=tuple(values["layers"]))
    peer, orders = PEERS[name](work), seeded_orders(work)
    calls = [_timed(peer.train, int(epochs), orders) for _ in range(1 + len(twice))]
    print(
        json.dumps({"losses": calls[0][1].tolist(), "other": peer.other, "seconds": [seconds for seconds, _ in calls]})
    )


if __name__ == "__main__":
    _once(*sys.argv[1:])
