"""Draw the recorded training step of the sine network: every operation, and what it needs.

python docs/draw_recording.py docs/images/recording.png
"""

from __future__ import annotations

import sys
from collections import defaultdict

import matplotlib as mpl
import numpy as np

from xpnet import NeuralNetwork
from xpnet.backends.compiled.cpu_compiler import CompiledTraining, Compiler
from xpnet.backends.compiled.recording import record
from xpnet.core.epochs import Batches
from xpnet.data.samples import Samples

VIEWS = ("reshape", "permute", "slice", "broadcast", "input", "constant")
SIGNS = {"add": "+", "subtract": "−", "multiply": "×", "divide": "÷", "matmul": "@", "negative": "−x"}


def recorded(network):
    """Return the outputs of the recorded step, by name."""
    members, progress = network._members, network._snapshot
    samples = Samples(network.backend, network.dtype, *(np.zeros((1, n)) for n in (network.layer_list[0], 1)))
    batches = Batches(samples, np.asarray(0.1), 1)
    step = members.step(network.backend)
    (segment,) = CompiledTraining(Compiler(), step, batches).segments(0)
    return record(step, progress.state, segment).outputs


def operands(node):
    """Return the operations that a node needs, with the inputs, looking through views and numbers."""
    found = []
    for arg in node.args:
        found += operands(arg) if arg.op in VIEWS and arg.op != "input" else [arg]
    return found


def draw(outputs, path):
    """Draw the operations from left to right, each after those that it needs."""
    depth = {}

    def place(node):
        if node not in depth:
            depth[node] = 1 + max((place(each) for each in operands(node)), default=-1)
        return depth[node]

    ends = {name: node if node.op not in VIEWS else operands(node)[0] for name, node in outputs.items()}
    for node in ends.values():
        place(node)
    columns = defaultdict(list)
    for node in depth:
        columns[depth[node]].append(node)
    y = {}
    for x in sorted(columns):  # each node beside what it needs
        wanted = {node: np.mean([y[each] for each in operands(node)] or [0.0]) for node in columns[x]}
        nodes = sorted(columns[x], key=wanted.get)
        for i, node in enumerate(nodes):
            y[node] = i - (len(nodes) - 1) / 2

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, ax = plt.subplots(figsize=(13, 3.4), layout="constrained")
    for node in depth:
        for each in operands(node):
            ax.plot([depth[each], depth[node]], [y[each], y[node]], color="0.8", linewidth=0.8, zorder=0)
    names = defaultdict(list)
    for name, node in ends.items():
        names[node].append(name)
    for node, x in depth.items():
        is_input, made = node.op == "input", names[node]
        label = node.attributes[0] if is_input else SIGNS.get(node.op, node.op)
        color = "#56B4E9" if is_input else "#D55E00" if node.op == "matmul" else "#009E73" if made else "0.9"
        box = {"boxstyle": "round,pad=0.25", "facecolor": color, "edgecolor": "none"}
        white = node.op == "matmul" or made
        text = f"{label} → {', '.join(made)}" if made else label
        ax.text(x, y[node], text, ha="center", va="center", fontsize=8, bbox=box, color="white" if white else "black")
    ax.set_xlim(-1, max(depth.values()) + 1)
    ax.set_ylim(max(y.values()) + 1, min(y.values()) - 1)
    ax.axis("off")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    draw(recorded(NeuralNetwork([1, 10, 10, 1], seed=0)), sys.argv[1])
