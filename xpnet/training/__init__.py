"""Training: `loop` is the algorithm; `run` begins and ends it, `progress` is what it has come to."""
