"""The document's algorithm, written anew from its formulas in plain NumPy.

It is the oracle of the tests, and what the benchmarks time xpnet against.

Sample by sample: Z = W A_prev + b; A = g(Z) with relu in the hidden layers and the sigmoid in the last; the cost
½ (y − ŷ)²; dZ = dA g'(Z), dW = dZ A_prevᵀ, db = dZ, dA_prev = Wᵀ dZ; W ← W − α dW, b ← b − α db.
"""

from __future__ import annotations

import numpy as np

Parameters = dict[str, np.ndarray]
Cache = list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]


def sigmoid(Z):
    return 1 / (1 + np.exp(-Z))


def relu(Z):
    return np.maximum(0, Z)


def forward(X: np.ndarray, parameters: Parameters) -> tuple[np.ndarray, Cache]:
    A, cache = X, []
    layers = len(parameters) // 2
    for l in range(1, layers + 1):
        W, b = parameters["W" + str(l)], parameters["b" + str(l)]
        Z = np.dot(W, A) + b
        cache.append((Z, W, b, A))
        A = relu(Z) if l < layers else sigmoid(Z)
    return A, cache


def backward(Y: np.ndarray, AL: np.ndarray, cache: Cache) -> Parameters:
    grads = {}
    layers = len(cache)
    dA = -(Y.reshape(AL.shape) - AL)
    for l in range(layers, 0, -1):
        Z, W, _, A_prev = cache[l - 1]
        if l == layers:
            s = sigmoid(Z)
            dZ = dA * (s * (1 - s))
        else:
            dZ = np.array(dA, copy=True)
            dZ[Z <= 0] = 0
        dA = np.dot(W.T, dZ)
        grads["dA" + str(l - 1)] = dA
        grads["dW" + str(l)] = np.dot(dZ, A_prev.T)
        grads["db" + str(l)] = dZ
    return grads


def update(parameters: Parameters, grads: Parameters, learning_rate: float) -> None:
    for l in range(1, len(parameters) // 2 + 1):
        parameters["W" + str(l)] = parameters["W" + str(l)] - learning_rate * grads["dW" + str(l)]
        parameters["b" + str(l)] = parameters["b" + str(l)] - learning_rate * grads["db" + str(l)]


def train(parameters: Parameters, X: np.ndarray, y: np.ndarray, learning_rate: float, epochs: int) -> list[float]:
    """Train in place on X and y of shape (N, n, 1); return the loss of every epoch."""
    losses = []
    for _ in range(epochs):
        cost = 0
        for x, target in zip(X, y, strict=True):
            AL, cache = forward(x, parameters)
            cost = cost + (1 / 2) * (target - AL) ** 2
            update(parameters, backward(target, AL, cache), learning_rate)
        losses.append(float((cost / len(X))[0, 0]))
    return losses
