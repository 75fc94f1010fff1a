"""exp, expm1, log, log1p and tanh as polynomials that a compiler can vectorize, within 3 units in the last place.

LLVM compiles a loop over one of NumPy's functions to a call for every number. These functions contain only arithmetic
and selections, and become part of the loop that calls them: powers of two reduce the argument to the range of the
polynomial. They are valid for all arguments, including ±0, ±∞, NaN and subnormal numbers. They compensate rounding
errors, so that the compiler must not reassociate their operations: `_FLAGS` does not permit it.

The argument reductions are those of Cody and Waite, *Software Manual for the Elementary Functions*, 1980; log is
2 artanh(f / (2 + f)) of the mantissa 1 + f, as in FreeBSD's libm.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

_FLAGS = {"contract", "nsz"}
_jit = njit(fastmath=_FLAGS, error_model="numpy", forceinline=True)


class _Format:
    """The constants for one floating-point type."""

    def __init__(self, number: Any, integer: Any, terms: int, log_terms: int, ln2: tuple[float, float]) -> None:
        info = np.finfo(number)
        self.number, self.integer = number, integer
        self.shift = integer(info.nmant)
        self.bias = integer(1 - info.minexp)
        self.terms = tuple(number(1.0 / math.factorial(k)) for k in range(terms, 1, -1))
        self.log_terms = tuple(number(2.0 / (2 * k + 1)) for k in range(log_terms, 0, -1))
        self.ln2_high, self.ln2_low = map(number, ln2)
        self.log2e = number(1.0 / math.log(2.0))
        self.highest = number(float(info.maxexp) * math.log(2.0) + 1.0)
        self.lowest = number(float(info.minexp - info.nmant) * math.log(2.0) - 2.0)
        self.tiny = info.smallest_normal
        self.scale = number(2.0**info.nmant * 4.0)
        self.mantissa = integer((1 << info.nmant) - 1)


def _make_functions(
    name: str, number: Any, integer: Any, terms: int, log_terms: int, ln2: tuple[float, float]
) -> dict[str, Any]:
    """Return the functions for one floating-point type, by name."""
    f = _Format(number, integer, terms, log_terms, ln2)
    zero, half, one, two = number(0.0), number(0.5), number(1.0), number(2.0)
    inf, ln2_high, ln2_low, log2e = number(np.inf), f.ln2_high, f.ln2_low, f.log2e
    highest, lowest, tiny, scale, log2_scale = f.highest, f.lowest, f.tiny, f.scale, number(math.log2(float(f.scale)))
    shift, bias, mantissa, ones = f.shift, f.bias, f.mantissa, f.bias << f.shift
    root_half = number(math.sqrt(0.5))
    view = number

    @_jit
    def power(n: Any) -> Any:
        """Return 2ⁿ of an integer n within the range of the exponent."""
        return integer((integer(n) + bias) << shift).view(view)

    @_jit
    def scaled(x: Any, n: Any) -> Any:
        """Return x 2ⁿ, in two steps because 2ⁿ may be out of range."""
        first = np.floor(n * half)
        return x * power(first) * power(n - first)

    expm1_terms = _horner(f.terms, number)

    @_jit
    def exp(x: Any) -> Any:
        y = x if x > lowest else lowest
        y = y if y < highest else highest
        n = np.floor(y * log2e + half)
        r = (y - n * ln2_high) - n * ln2_low
        result = scaled(one + (r + r * r * expm1_terms(r)), n)
        return result if x == x else x

    @_jit
    def expm1(x: Any) -> Any:
        y = x if x > -highest else -highest
        y = y if y < highest else highest
        n = np.floor(y * log2e + half)
        r = (y - n * ln2_high) - n * ln2_low
        first = np.floor(n * half)
        a, b = power(first), power(n - first)
        q = r + r * r * expm1_terms(r)
        result = (q * a) * b + (a * b - one)
        large = a * ((q + one) * b)
        result = result if n < number(100.0) else large
        result = x if n == zero and x == zero else result
        return result if x == x else x

    log_terms_of = _horner(f.log_terms, number)

    @_jit
    def log(x: Any) -> Any:
        small = x < tiny
        y = x * scale if small else x
        y = y if y > zero else one
        y = y if y < inf else one
        bits = number(y).view(integer)
        n = number((bits >> shift) - bias)
        m = integer((bits & mantissa) | ones).view(view) * half
        low = m < root_half
        m = m + m if low else m
        n = n if low else n + one
        n = n - log2_scale if small else n
        g = m - one
        s = g / (two + g)
        z = s * s
        h = half * g * g
        result = n * ln2_high - ((h - (s * (h + z * log_terms_of(z)) + n * ln2_low)) - g)
        result = x if x == inf else result
        result = -inf if x == zero else result
        return result if x >= zero else number(np.nan)

    @_jit
    def log1p(x: Any) -> Any:
        u = one + x
        result = log(u) + (x - (u - one)) / (u if u > zero else one)
        result = x if u == one else result
        result = x if x == inf else result
        return -inf if x == -one else result

    @_jit
    def tanh(x: Any) -> Any:
        size = abs(x)
        size = size if size < number(40.0) else number(40.0)
        t = expm1(-two * size)
        result = -t / (two + t)
        result = result if x > zero else -result
        result = x if x == zero else result
        return result if x == x else x

    functions = {"exp": exp, "expm1": expm1, "log": log, "log1p": log1p, "tanh": tanh}
    return {f"{function}_{name}": jitted for function, jitted in functions.items()}


def _horner(terms: tuple[Any, ...], number: Any) -> Any:
    """Return a compiled polynomial with the given coefficients, the highest power first."""
    lines = ["def polynomial(x):", f"    y = K{0}"]
    lines += [f"    y = y * x + K{k}" for k in range(1, len(terms))]
    names: dict[str, Any] = {"__name__": __name__, **{f"K{k}": term for k, term in enumerate(terms)}}
    exec("\n".join([*lines, "    return y"]), names)
    return _jit(names["polynomial"])


# log 2 in two parts, the first with so few bits that its multiples are exact; from FreeBSD's e_log.c and e_logf.c.
FUNCTIONS = {
    **_make_functions(
        "float64", np.float64, np.int64, 13, 11, (6.93147180369123816490e-01, 1.90821492927058770002e-10)
    ),
    **_make_functions("float32", np.float32, np.int32, 7, 5, (6.9313812256e-01, 9.0580006145e-06)),
}
globals().update(FUNCTIONS)
