"""Training: `loop` is the algorithm, `run` its beginning and end, `progress` the state of a network in training."""
