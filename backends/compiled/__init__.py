"""The training step, recorded once and compiled: an epoch of one network, or of thousands, is one call.

To be read in this order: `recorder` (operations are remembered), `loops` (the language of loops), `lower` (from
operations to loops), `fuse` (fewer loops), `printer` (from loops to text for Numba), `functions` (exp and its kin),
`cache` (compiled text on disk), `compiler` (an epoch through a kernel).
"""
