"""Conversion of any data to NumPy arrays of numbers.

Lists, data frames with columns of several types, masked and sparse arrays, and other data that NumPy would convert to
an array of objects or to wrong numbers, are converted correctly or rejected with a hint. Data frames are recognized by
their attributes, so that no data frame library is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import chain
from numbers import Real
from typing import Any

import numpy


class HoldsText(TypeError):  # noqa: N818 - the name describes the data without the word error
    """Data holds text instead of numbers.

    Examples
    --------
    >>> from xpnet.backends import HoldsText, get_backend
    >>> try:
    ...     get_backend("cpu").asarray(["cat", "dog"])
    ... except HoldsText as error:
    ...     print(error)
    it holds 'cat' at [0], which is not a number
    """


def host_array(x: Any, dtype: str | None = None) -> Any:
    """Return data as a NumPy array; numbers that overflow the type become infinite, without a warning.

    Raises
    ------
    TypeError, ValueError
        If the data holds anything that is not a number, or that NumPy would convert to a wrong number; the message
        starts with "it", as in "it is a masked array, …".
    """
    if type(x) is numpy.ndarray and x.dtype == (dtype or x.dtype) and x.dtype.kind == "f":
        return x  # a shortcut, which matters for a sample at a time
    if not isinstance(x, numpy.ndarray):
        x = _convertible(x)
    with numpy.errstate(over="ignore"):
        array = numpy.asanyarray(x)
        _refuse_masked(array)
        array = numpy.asarray(array)
        if array.dtype.names:
            fields = ", ".join(array.dtype.names)
            msg = (
                f"it is a structured array with the fields {fields}; use "
                "numpy.lib.recfunctions.structured_to_unstructured"
            )
            raise TypeError(msg)
        if array.dtype.kind in "USTO" and array.ndim:
            array = _numbers(array)
        return numpy.asarray(array, dtype=dtype)


def _convertible(x: Any) -> Any:
    """Return data in a form that numpy.asanyarray converts correctly."""
    if hasattr(x, "toarray") and hasattr(x, "nnz"):
        msg = f"it is a sparse {type(x).__name__}; use .toarray()"
        raise TypeError(msg)
    if hasattr(x, "collect") and not hasattr(x, "to_numpy"):
        msg = f"it is a {type(x).__name__}; use .collect()"
        raise TypeError(msg)
    if hasattr(x, "dtypes") and hasattr(x, "columns"):  # a data frame of pandas or polars
        if hasattr(x, "iloc") and all(isinstance(each, numpy.dtype) and each.kind in "iuf" for each in x.dtypes):
            array = x.to_numpy()  # no copy if all columns have the same type
            if not array.size or array.dtype.kind != "f" or not numpy.isnan(array.min()):
                return array
        names = list(x.columns)
        columns = [x.iloc[:, i] for i in range(len(names))] if hasattr(x, "iloc") else [x[name] for name in names]
        return _frame(names, columns)
    if hasattr(x, "column_names") and hasattr(x, "schema"):  # a table of Arrow
        return _frame(x.column_names, [x.column(i) for i in range(len(x.column_names))])
    if hasattr(x, "to_numpy") and (hasattr(x, "isna") or hasattr(x, "null_count")):  # a single column
        return _column("it", x)
    if isinstance(x, Sequence) and not isinstance(x, (str, bytes)):
        _refuse_in_list(x)
    return x


def _frame(names: list[Any], columns: list[Any]) -> Any:
    """Return the columns of a data frame as an array of shape (rows, columns)."""
    # Column by column: a frame of several types has no array to share.
    numbers = numpy.empty((len(columns[0]) if columns else 0, len(columns)))
    for i, (name, column) in enumerate(zip(names, columns, strict=True)):
        numbers[:, i] = _column(f"its column {name!r}", column)
    return numbers


def _column(what: str, column: Any) -> Any:
    """Return a column of a data frame as an array of numbers."""
    missing = column.null_count if hasattr(column, "null_count") else column.isna().sum()
    if callable(missing):
        missing = missing()
    kind = str(getattr(column, "dtype", getattr(column, "type", "")))
    if int(missing):
        msg = f"{what} has missing values ({int(missing)}); fill them or drop their rows first"
        raise ValueError(msg)
    if kind.lower().startswith(("category", "categorical", "enum", "dictionary")):
        msg = f"{what} is of {kind}, which is not a number; use its codes, or one-hot columns"
        raise TypeError(msg)
    array = numpy.asarray(column.to_numpy())
    if array.dtype == object:
        array = _numbers(array, what)
    if array.dtype.kind not in "biuf" or array.ndim != 1:
        msg = f"{what} is of {kind}, which is not a number; convert it to numbers, or drop it"
        raise TypeError(msg)
    return array


def _refuse_masked(x: Any) -> None:
    """Raise a ValueError for an array with masked values."""
    if isinstance(x, numpy.ma.MaskedArray) and numpy.ma.is_masked(x):
        msg = "it is a masked array, whose masked values would be read as numbers; fill them or drop them first"
        raise ValueError(msg)


def _refuse_in_list(x: Sequence[Any]) -> None:
    """Raise an error for elements of nested lists that NumPy would misread, or cannot convert."""
    level: Any = x
    for _ in range(4):  # nested lists; arrays of data have at most four axes
        deeper: list[Any] = []
        for kind in set(map(type, level)):  # by type: a long list has few types
            if issubclass(kind, (list, tuple)):
                deeper += [each for each in level if type(each) is kind]
            elif issubclass(kind, numpy.ma.MaskedArray):
                for each in level:
                    _refuse_masked(each)
            elif hasattr(kind, "__dlpack__") and not issubclass(kind, (numpy.ndarray, numpy.generic)):
                library = kind.__module__.partition(".")[0]
                msg = f"it is a list of arrays of {library}; stack them into one array first"
                raise TypeError(msg)
        level = list(chain.from_iterable(deeper))
        if not level:
            return


def _numbers(array: Any, what: str = "it") -> Any:
    """Return an array of objects as an array of floats; raise an error unless all objects are numbers."""
    for index, each in numpy.ndenumerate(array):
        if not isinstance(each, (Real, Decimal, numpy.bool)) or isinstance(each, numpy.timedelta64):
            place = ", ".join(map(str, index))
            msg = f"{what} holds {_short_repr(each)} at [{place}], which is not a number"
            raise (HoldsText if isinstance(each, (str, bytes)) else TypeError)(msg)
    try:
        return array.astype("float64")
    except OverflowError:
        msg = f"{what} holds a number that is too large for float64"
        raise ValueError(msg) from None


def _short_repr(value: Any) -> str:
    """Return a text in quotes, cut to 38 characters, or the type of any other value."""
    if isinstance(value, (str, bytes)):
        words = repr(str(value) if isinstance(value, str) else bytes(value))
    else:
        words = "None" if value is None else f"a {type(value).__name__}"
    return words if len(words) < 40 else f"{words[:36]}…{words[-1]}"
