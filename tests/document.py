"""The algorithm of the notebook *Neural Network From Scratch*, called "the document" here (see README), in plain NumPy.

It is the oracle of the tests, and the benchmarks measure xpnet's speed against it. It therefore computes exactly what
the document computes: it looks up parameters by name at every use, the derivative of the sigmoid computes the sigmoid
again, and the backward pass also returns the gradient with respect to the samples.
"""

from __future__ import annotations

from collections.abc import MutableMapping

import numpy as np


class Document:
    """A network trained sample by sample: relu in hidden layers, sigmoid in the output layer, cost ½ (y − ŷ)²."""

    def __init__(self, parameters: MutableMapping[str, np.ndarray]) -> None:
        self.parameters = parameters
        self.cache: list[tuple[np.ndarray, ...]] = []

    def sigmoid(self, Z):
        return 1 / (1 + np.exp(-Z))

    def sigmoid_derivative(self, Z):
        s = self.sigmoid(Z)
        return s * (1 - s)

    def relu(self, Z):
        return np.maximum(0, Z)

    def cost(self, Y, AL):
        return (1 / 2) * (Y - AL) ** 2

    def forward(self, X):
        """Z = W A_prev + b; A = g(Z)."""
        self.cache = []
        layers = len(self.parameters) // 2
        A = X
        for l in range(1, layers + 1):
            Z = np.dot(self.parameters["W" + str(l)], A) + self.parameters["b" + str(l)]
            self.cache.append((Z, self.parameters["W" + str(l)], self.parameters["b" + str(l)], A))
            A = self.relu(Z) if l < layers else self.sigmoid(Z)
        return A

    def backward(self, Y, AL):
        """dZ = dA g'(Z); dW = dZ A_prevᵀ; db = dZ; dA_prev = Wᵀ dZ."""
        grads = {}
        layers = len(self.cache)
        dA = -(Y.reshape(AL.shape) - AL)
        for l in range(layers, 0, -1):
            Z, W, _, A_prev = self.cache[l - 1]
            if l == layers:
                dZ = dA * self.sigmoid_derivative(Z)
            else:
                dZ = np.array(dA, copy=True)
                dZ[Z <= 0] = 0
            dA = np.dot(W.T, dZ)
            grads["dA" + str(l - 1)] = dA
            grads["dW" + str(l)] = np.dot(dZ, A_prev.T)
            grads["db" + str(l)] = dZ
        return grads

    def update(self, grads, learning_rate):
        """W ← W − α dW; b ← b − α db."""
        for l in range(1, len(self.parameters) // 2 + 1):
            W, b = "W" + str(l), "b" + str(l)
            self.parameters[W] = self.parameters[W] - learning_rate * grads["d" + W]
            self.parameters[b] = self.parameters[b] - learning_rate * grads["d" + b]

    def train(self, X, y, learning_rate, epochs):
        """Train on X and y of shape (N, n, 1); return the loss of every epoch."""
        losses = []
        for _ in range(epochs):
            total = 0
            for i in range(len(X)):
                AL = self.forward(X[i])
                total += self.cost(y[i], AL)
                self.update(self.backward(y[i], AL), learning_rate)
            total = total / len(X)
            losses.append(total[0][0])
        return losses
