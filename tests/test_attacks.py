"""xpnet withstands a few attacks of each kind; ``nox -s stress`` runs more, for a given time."""

from __future__ import annotations

import pytest
from attacks import outcomes, report

COUNTS = {"calls": 300, "files": 150, "interrupts": 100, "kills": 2}


@pytest.mark.parametrize("name", COUNTS)
def test_xpnet_withstands_attacks(name):
    faults = [(seed, outcome) for seed, outcome in outcomes(name, 0, COUNTS[name]) if not outcome.withstood]
    assert not faults, f"{len(faults)} of {COUNTS[name]} {name} were not withstood:\n\n{report(faults)}"
