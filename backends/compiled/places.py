"""Places in working memory: arrays that are not in use at the same time share one."""

from __future__ import annotations

from xpnet.backends.compiled.loops import Program


class Places:
    """Assigns places in one block of memory.

    A scratch array of the program is in use from the nest that writes it to the last nest that reads it; any other
    array always.

    Parameters
    ----------
    program : Program
        The program that uses the arrays.
    alignment : int
        The start of each place is a multiple of it.

    Attributes
    ----------
    size : int
        The size of the block that all places need, in the unit in which the sizes of the arrays are given.
    """

    def __init__(self, program: Program, alignment: int = 1) -> None:
        self._program, self._alignment = program, alignment
        self._taken: list[tuple[int, int, int, int]] = []  # start, stop, and the first and the last nest
        self.size = 0

    def place(self, name: str, size: int) -> int:
        """Return the start of a place for an array of a size."""
        first, last = self._in_use(name)
        start = 0
        for other_start, other_stop, other_first, other_last in sorted(self._taken):
            if other_first <= last and first <= other_last:  # both are in use at the same time
                if start + size <= other_start:
                    break
                start = max(start, -(-other_stop // self._alignment) * self._alignment)
        self._taken.append((start, start + size, first, last))
        self.size = max(self.size, start + size)
        return start

    def _in_use(self, name: str) -> tuple[int, int]:
        """Return the first and the last nest during which an array is in use."""
        program = self._program
        if name not in program.buffers or program.buffers[name].kind != "scratch":
            return -1, len(program.nests)
        nests = [
            i for i, nest in enumerate(program.nests) if any(access.buffer == name for access, _ in nest.accesses())
        ]
        return nests[0], nests[-1]
