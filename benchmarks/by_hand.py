"""Training loops written by hand for Numba: what a generator of such loops is measured against.

`small_networks` trains networks side by side, one in each lane of the vector registers; `batches` trains one network
with matrix products by BLAS and everything else in fused loops.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from numba import njit

# Not "fast": NaN and infinity stay what they are.
_jit = njit(fastmath={"arcp", "contract", "afn", "reassoc", "nsz"}, error_model="numpy", nogil=True)


def _exponential(number: Any) -> Any:
    """Return exp as arithmetic on scalars of one type, for LLVM to vectorise."""
    double = number is np.float64
    integer, shift, bias = (
        (np.int64, np.int64(52), np.int64(1023)) if double else (np.int32, np.int32(23), np.int32(127))
    )
    terms = tuple(number(1.0 / math.factorial(k)) for k in range(13 if double else 7, -1, -1))
    log2e, half, least = number(1.0 / math.log(2.0)), number(0.5), number(-700.0 if double else -87.0)
    # ln 2 in two parts, the first with so few digits that its multiples are exact.
    high = number(0.693147180369123816490 if double else 0.693359375)
    low = number(1.90821492927058770002e-10 if double else -2.12194440e-4)

    @njit(fastmath={"contract", "nsz"}, error_model="numpy", inline="always")
    def exp(x):
        x = min(max(x, least), -least)
        n = np.floor(x * log2e + half)
        r = (x - n * high) - n * low
        p = terms[0]
        for k in range(1, len(terms)):
            p = p * r + terms[k]
        return p * integer((integer(n) + bias) << shift).view(number)

    return exp


def _update(optimizer: str, number: Any) -> Any:
    """Return ``update(theta, state, k, e, gradient, rate, first, second)`` for one parameter of one lane."""
    mass, rest = number(0.9), number(0.1)
    mass2, rest2, eps = number(0.999), number(0.001), number(1e-8)

    @njit(inline="always")
    def sgd(theta, state, k, e, gradient, rate, first, second):
        theta[k, e] -= rate * gradient

    @njit(inline="always")
    def momentum(theta, state, k, e, gradient, rate, first, second):
        v = mass * state[0, k, e] + gradient
        state[0, k, e] = v
        theta[k, e] -= rate * v

    @njit(inline="always")
    def adam(theta, state, k, e, gradient, rate, first, second):
        m = mass * state[0, k, e] + rest * gradient
        v = mass2 * state[1, k, e] + rest2 * gradient * gradient
        state[0, k, e] = m
        state[1, k, e] = v
        theta[k, e] -= rate * (m * first) / (np.sqrt(v * second) + eps)

    return {"sgd": sgd, "momentum": momentum, "adam": adam}[optimizer]


def small_networks(layers: tuple[int, ...], dtype: str, optimizer: str, lanes: int, *, whole: bool) -> Any:
    """Return a function that trains blocks of networks with two hidden layers.

    ``train(X, Y, orders, theta, state, rate, t, epochs, m)`` takes X (N, n_0), Y (N, n_3), orders (1 or E, N), theta
    (blocks, P, lanes) and state (blocks, 2, P, lanes), and returns the losses (blocks, lanes) of the last epoch, each
    the sum over the samples.

    Parameters
    ----------
    whole : bool
        Whether a step has several samples; with one, each gradient is used as soon as it is computed.
    """
    n0, n1, n2, n3 = layers
    B, classifies = lanes, n3 > 1
    number = np.dtype(dtype).type
    zero, half, one, beta1, beta2 = number(0), number(0.5), number(1), 0.9, 0.999
    exp, update = _exponential(number), _update(optimizer, number)
    # Where the weights and biases of the layers are.
    b1, W2 = n0 * n1, (n0 + 1) * n1
    b2 = W2 + n1 * n2
    W3 = b2 + n2
    b3 = W3 + n2 * n3
    P = b3 + n3

    @njit(inline="always")
    def use(theta, state, G, k, e, gradient, rate, first, second):
        if whole:
            G[k, e] += gradient
        else:
            update(theta, state, k, e, gradient, rate, first, second)

    @_jit
    def train_block(X, Y, orders, own, th, state, rate, t, epochs, m, losses):
        x, y = np.empty((n0, B), X.dtype), np.empty((n3, B), X.dtype)
        A1, A2, A3 = np.empty((n1, B), X.dtype), np.empty((n2, B), X.dtype), np.empty((n3, B), X.dtype)
        D1, D2 = np.empty((n1, B), X.dtype), np.empty((n2, B), X.dtype)
        top, total = np.empty(B, X.dtype), np.empty(B, X.dtype)
        G = np.zeros((P if whole else 1, B), X.dtype)
        share = one / number(m)
        for _ in range(epochs):
            losses[:] = zero
            for start in range(0, X.shape[0], m):
                t += 1
                first, second = number(1 / (1 - beta1**t)), number(1 / (1 - beta2**t))
                for s in range(start, start + m):
                    for e in range(B):
                        row = orders[own * e, s]
                        for i in range(n0):
                            x[i, e] = X[row, i]
                        for i in range(n3):
                            y[i, e] = Y[row, i]
                    for i in range(n1):
                        for e in range(B):
                            z = th[b1 + i, e]
                            for j in range(n0):
                                z += th[i * n0 + j, e] * x[j, e]
                            A1[i, e] = max(zero, z)
                    for i in range(n2):
                        for e in range(B):
                            z = th[b2 + i, e]
                            for j in range(n1):
                                z += th[W2 + i * n1 + j, e] * A1[j, e]
                            A2[i, e] = max(zero, z)
                    for i in range(n3):
                        for e in range(B):
                            z = th[b3 + i, e]
                            for j in range(n2):
                                z += th[W3 + i * n2 + j, e] * A2[j, e]
                            A3[i, e] = z
                    if classifies:
                        for e in range(B):
                            top[e] = A3[0, e]
                            total[e] = zero
                        for i in range(1, n3):
                            for e in range(B):
                                top[e] = max(top[e], A3[i, e])
                        for i in range(n3):
                            for e in range(B):
                                z = A3[i, e] - top[e]
                                losses[e] -= y[i, e] * z
                                A3[i, e] = exp(z)
                                total[e] += A3[i, e]
                        for e in range(B):
                            losses[e] += np.log(total[e])
                        for i in range(n3):
                            for e in range(B):
                                A3[i, e] = (A3[i, e] / total[e] - y[i, e]) * share
                    else:
                        for e in range(B):
                            a = one / (one + exp(-A3[0, e]))
                            error = a - y[0, e]
                            losses[e] += half * error * error
                            A3[0, e] = error * a * (one - a) * share
                    # A3 holds the derivative with respect to Z3.
                    for j in range(n2):
                        for e in range(B):
                            d = zero
                            for i in range(n3):
                                d += th[W3 + i * n2 + j, e] * A3[i, e]
                            D2[j, e] = d if A2[j, e] > zero else zero
                    for j in range(n1):
                        for e in range(B):
                            d = zero
                            for i in range(n2):
                                d += th[W2 + i * n1 + j, e] * D2[i, e]
                            D1[j, e] = d if A1[j, e] > zero else zero
                    for i in range(n3):
                        for j in range(n2):
                            for e in range(B):
                                use(th, state, G, W3 + i * n2 + j, e, A3[i, e] * A2[j, e], rate, first, second)
                        for e in range(B):
                            use(th, state, G, b3 + i, e, A3[i, e], rate, first, second)
                    for i in range(n2):
                        for j in range(n1):
                            for e in range(B):
                                use(th, state, G, W2 + i * n1 + j, e, D2[i, e] * A1[j, e], rate, first, second)
                        for e in range(B):
                            use(th, state, G, b2 + i, e, D2[i, e], rate, first, second)
                    for i in range(n1):
                        for j in range(n0):
                            for e in range(B):
                                use(th, state, G, i * n0 + j, e, D1[i, e] * x[j, e], rate, first, second)
                        for e in range(B):
                            use(th, state, G, b1 + i, e, D1[i, e], rate, first, second)
                if whole:
                    for k in range(P):
                        for e in range(B):
                            update(th, state, k, e, G[k, e], rate, first, second)
                            G[k, e] = zero

    @_jit
    def train(X, Y, orders, theta, state, rate, t, epochs, m, losses):
        own = 1 if orders.shape[0] > 1 else 0
        for b in range(theta.shape[0]):
            rows = orders[b * B * own : (b * B + B) if own else 1]
            train_block(X, Y, rows, own, theta[b], state[b], rate, t, epochs, m, losses[b])

    return train


def batches(layers: tuple[int, ...]) -> Any:
    """Return a function that trains one network with softmax, cross-entropy and Adam in float32.

    ``train(X, Y, theta, gradient, first, second, rate, t, epochs, m)`` returns the sum over the batches of the loss of
    the last epoch.
    """
    depth, number = len(layers) - 1, np.float32
    zero, one = number(0), number(1)
    mass, rest, mass2, rest2, eps = number(0.9), number(0.1), number(0.999), number(0.001), number(1e-8)
    widths = np.array(layers)
    starts = np.array([0, *np.cumsum([(n_in + 1) * n_out for n_in, n_out in pairwise(layers)])])

    @_jit
    def adam(theta, gradient, m, v, rate, first, second):
        for k in range(theta.size):
            a = mass * m[k] + rest * gradient[k]
            b = mass2 * v[k] + rest2 * gradient[k] * gradient[k]
            m[k] = a
            v[k] = b
            theta[k] -= rate * (a * first) / (np.sqrt(b * second) + eps)

    @_jit
    def relu(Z, b):
        for i in range(Z.shape[0]):
            for j in range(Z.shape[1]):
                Z[i, j] = max(zero, Z[i, j] + b[j])

    @_jit
    def relu_backward(D, A, db):
        db[:] = zero
        for i in range(D.shape[0]):
            for j in range(D.shape[1]):
                d = D[i, j] if A[i, j] > zero else zero
                D[i, j] = d
                db[j] += d

    @_jit
    def softmax(Z, b, Y, db):
        """Return the loss, and put its derivative into Z."""
        loss, share = 0.0, one / number(Z.shape[0])
        db[:] = zero
        for i in range(Z.shape[0]):
            top = Z[i, 0] + b[0]
            for j in range(Z.shape[1]):
                Z[i, j] += b[j]
                top = max(top, Z[i, j])
            total, hit = zero, zero
            for j in range(Z.shape[1]):
                z = Z[i, j] - top
                hit += Y[i, j] * z
                Z[i, j] = np.exp(z)
                total += Z[i, j]
            loss += (np.log(total) - hit) * share
            for j in range(Z.shape[1]):
                d = (Z[i, j] / total - Y[i, j]) * share
                Z[i, j] = d
                db[j] += d
        return loss

    @njit(inline="always")
    def weights(theta, l):
        n_in, n_out = widths[l], widths[l + 1]
        return theta[starts[l] : starts[l] + n_in * n_out].reshape(n_out, n_in)

    @njit(inline="always")
    def biases(theta, l):
        return theta[starts[l + 1] - widths[l + 1] : starts[l + 1]]

    @_jit
    def train(X, Y, theta, gradient, m1, m2, rate, t, epochs, m):
        A = [np.empty((m, n), X.dtype) for n in widths[1:]]
        D = [np.empty((m, n), X.dtype) for n in widths[1:]]
        loss = 0.0
        for _ in range(epochs):
            loss = 0.0
            for start in range(0, X.shape[0], m):
                x = X[start : start + m]
                for l in range(depth):
                    np.dot(x if l == 0 else A[l - 1], weights(theta, l).T, A[l])
                    if l < depth - 1:
                        relu(A[l], biases(theta, l))
                D[depth - 1] = A[depth - 1]
                last = depth - 1
                loss += softmax(A[last], biases(theta, last), Y[start : start + m], biases(gradient, last))
                for l in range(depth - 1, -1, -1):
                    np.dot(D[l].T, x if l == 0 else A[l - 1], weights(gradient, l))
                    if l > 0:
                        np.dot(D[l], weights(theta, l), D[l - 1])
                        relu_backward(D[l - 1], A[l - 1], biases(gradient, l - 1))
                t += 1
                adam(theta, gradient, m1, m2, rate, number(1 / (1 - 0.9**t)), number(1 / (1 - 0.999**t)))
        return loss

    return train
