"""Attack xpnet for a given time: ``python tests/stress.py --minutes 10 --seed 0 --output faults.json``.

Prints how many attacks of each kind xpnet withstood, and each kind of fault once, with the shortest call that causes
it. Exits with 1 if there was a fault.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import platform
import sys
import time
from pathlib import Path

import numpy as np
from attacks import ATTACKS, shrunk

# How many attacks of each kind a round has.
ROUND = {"calls": 200, "files": 40, "interrupts": 30, "kills": 1}
PACKAGES = ["xpnet", "numpy", "array-api-compat", "array-api-strict", "scipy", "safetensors", "ndonnx"]


def attack_for(minutes, seed):
    """Run all attacks in rounds; return the counts of each kind, and the faults with their examples."""
    until, counts = time.monotonic() + 60 * minutes, {name: [0, 0] for name in ATTACKS}
    faults, seeds = {}, dict.fromkeys(ATTACKS, seed)
    while time.monotonic() < until:
        for name, attack in ATTACKS.items():
            for _ in range(ROUND[name]):
                if time.monotonic() > until:
                    break
                outcome = attack(np.random.default_rng(seeds[name]))
                seeds[name] += 1
                if outcome is None:
                    continue
                counts[name][0] += 1
                counts[name][1] += outcome.withstood
                if not outcome.withstood:
                    _keep(faults, name, seeds[name] - 1, outcome)
    return counts, sorted(faults.values(), key=lambda fault: -fault["count"])


def _keep(faults, name, seed, outcome):
    known = faults.get((name, outcome.kind))
    if known is None or len(outcome.attack) < known["length"]:
        example = shrunk(outcome)
        count, first = (0, seed) if known is None else (known["count"], known["first seed"])
        if known is None or len(example.attack) < len(known["example"]):
            faults[name, outcome.kind] = known = {
                "attack": name,
                "kind": outcome.kind,
                "rule": example.rule,
                "example": example.attack,
                "observed": example.observed,
                "count": count,
                "first seed": first,
                "length": len(outcome.attack),
            }
        known["length"] = len(outcome.attack)
    known["count"] += 1


def main():
    parser = argparse.ArgumentParser(description="Attack xpnet for a given time.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0, help="seed of the first attack of each kind; then it counts up")
    parser.add_argument("--output", type=Path, help="write the result to this file as JSON")
    options = parser.parse_args()
    counts, faults = attack_for(options.minutes, options.seed)

    print(f"{'attack':<12}{'made':>10}{'withstood':>12}")
    for name, (made, withstood) in counts.items():
        print(f"{name:<12}{made:>10}{withstood:>12}")
    print(f"\n{len(faults)} kinds of faults")
    for fault in faults:
        print(f"\n{fault['count']} × {fault['attack']}: {fault['kind']}")
        print(f"    rule      {fault['rule']}\n    example   {fault['example']}\n    observed  {fault['observed']}")
    if options.output is not None:
        result = {
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "seed": options.seed,
            "minutes": options.minutes,
            "versions": {"python": platform.python_version(), **{p: importlib.metadata.version(p) for p in PACKAGES}},
            "counts": {name: {"made": made, "withstood": withstood} for name, (made, withstood) in counts.items()},
            "faults": [{name: value for name, value in fault.items() if name != "length"} for fault in faults],
        }
        options.output.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
