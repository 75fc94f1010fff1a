"""The compiler of training steps: a step is recorded once, and one call of the kernel computes many steps.

Read the modules in this order:

- `recorder` records operations, `recording` those of a step with its inputs;
- `loops` represents loops, `lower` converts operations to loops, `fuse` merges loops, `places` shares memory;
- for the CPU, `cpu` prints loops as Python for Numba, with `functions` (exp, log, tanh), `random` (orders and masks)
  and `memory`; `cache` stores kernels on disk, and `cpu_compiler` trains with them;
- for GPUs, `cuda` prints loops as CUDA C, and `cuda_compiler` trains with them;
- `c` prints loops as C, for CUDA and for the export of a network.
"""
