"""The compiler of training steps: a step is recorded once, and one call of the kernel computes many steps.

Read the modules in this order: `recorder` (records the operations), `loops` (represents loops), `lower` (converts
operations to loops), `fuse` (merges loops), `printer` (prints loops as Python for Numba), `functions` (exp, log, tanh),
`cache` (stores kernels on disk), `compiler` (runs an epoch with the kernels).
"""
