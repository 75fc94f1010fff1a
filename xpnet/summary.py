"""Summary of a network, layer by layer, as text and as HTML for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import Any

__all__ = [
    "Summary",
]

_HEAD = ("layer", "outputs", "activation", "initializer", "dropout", "parameters")


class Summary:
    """A table of the layers of a network with further properties; ``print(summary)`` shows it.

    Parameters
    ----------
    title : str
        The first line.
    rows : sequence of sequence of str
        One row per layer, with the columns layer, outputs, activation, initializer, dropout and parameters.
    facts : mapping of str to str
        Further properties, by name.

    Examples
    --------
    >>> from xpnet import NeuralNetwork
    >>> str(NeuralNetwork([3, 10, 2]).summary()).splitlines()[:2]
    ['NeuralNetwork', 'layer  outputs  activation  initializer  dropout  parameters']
    """

    def __init__(self, title: str, rows: Sequence[Sequence[str]], facts: dict[str, str]) -> None:
        self.title, self.rows, self.facts = title, rows, facts

    def __repr__(self) -> str:
        table = [_HEAD, *self.rows]
        widths = [max(len(row[i]) for row in table) for i in range(len(_HEAD))]
        lines = [
            "  ".join(
                f"{cell:<{width}}" if i in (0, 2, 3) else f"{cell:>{width}}" for i, (cell, width) in enumerate(row)
            )
            for row in (list(zip(row, widths, strict=True)) for row in table)
        ]
        longest = max(map(len, self.facts))
        facts = [f"{name:<{longest}}  {value}" for name, value in self.facts.items()]
        return "\n".join(line.rstrip() for line in [self.title, *lines, "", *facts])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in _HEAD)
        rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in self.rows)
        facts = "<br>".join(f"{name}: {escape(value)}" for name, value in self.facts.items())
        return f"<b>{escape(self.title)}</b><table><tr>{head}</tr>{rows}</table>{facts}"


def of_network(network: Any) -> Summary:
    """Return the summary of a network."""
    settings, each, layers = network.settings, network._settings.each_sizes, network._settings.sizes
    rows = []
    for l in range(1, len(layers)):
        dropout = network.dropout[l - 1] if l < len(layers) - 1 else 0.0
        names = [name_of(settings[part][l - 1]) for part in ("activations", "initializer")]
        outputs, counts = [sizes[l] for sizes in each], [sizes[l] * (sizes[l - 1] + 1) for sizes in each]
        rows.append([f"{l}", _range(outputs), *names, f"{dropout:g}" if dropout else "", _range(counts)])
    facts = {"inputs": f"{layers[0]}", "parameters": f"{parameters_of(network)} in {network.dtype}"}
    if network.ensemble is not None:
        total = sum(_counts(each)) * network.ensemble // len(each)
        facts["networks"] = f"{network.ensemble:,}, with {total:,} parameters in all"
    facts |= {"loss": name_of(settings["loss"]), "optimizer": name_of(settings["optimizer"])}
    facts |= {
        "device": f"{network.backend.device} ({network.backend.name})",
        "epochs trained": f"{network.epochs_trained:,}",
    }
    return Summary(type(network).__name__, rows, facts)


def parameters_of(network: Any) -> str:
    """Return the number of parameters of a network, or of each network of an ensemble."""
    return _range(_counts(network._settings.each_sizes))


def _counts(each_sizes: Sequence[Sequence[int]]) -> list[int]:
    return [sum(n_out * (n_in + 1) for n_in, n_out in pairwise(sizes)) for sizes in each_sizes]


def _range(numbers: Sequence[int]) -> str:
    """Return a number as text, or the smallest and the largest of several numbers."""
    lowest, highest = min(numbers), max(numbers)
    return f"{lowest:,}" if lowest == highest else f"{lowest:,} to {highest:,}"


def name_of(part: Any) -> str:
    """Return the name of a built-in part, or "custom (…)" with the name of the function of a custom one."""
    if isinstance(part, str):
        return part
    function = next((each for each in part if callable(each)), part) if isinstance(part, tuple) else part
    function = getattr(function, "func", function)
    return f"custom ({getattr(function, '__name__', type(function).__name__)})"
