"""What people hold data in, as NumPy arrays: taken right, or refused with the fix.

Lists, frames with columns of several types, and whatever else NumPy would make an array of objects of, or numbers that
were none, is checked here. Nothing is imported for it: a data frame is told by what it can do.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import chain
from numbers import Real
from typing import Any

import numpy


class HoldsText(TypeError):  # noqa: N818 - it says what is the matter, without the word error
    """There is text where numbers should be."""


def host_array(x: Any, dtype: str | None = None) -> Any:
    """Return anything as a NumPy array; what is too great for the type becomes infinite, and never a mere warning.

    Raises
    ------
    TypeError, ValueError
        If it holds something that is no number, or that would be taken for another number than it is; the message says
        what, as in "it is a masked array, …".
    """
    if type(x) is numpy.ndarray and x.dtype == (dtype or x.dtype) and x.dtype.kind == "f":
        return x  # as most do, and a sample at a time
    if not isinstance(x, numpy.ndarray):
        x = _plain(x)
    with numpy.errstate(over="ignore"):
        array = numpy.asanyarray(x)
        _refuse_masked(array)
        array = numpy.asarray(array)
        if array.dtype.names:
            fields = ", ".join(array.dtype.names)
            msg = (
                f"it is a structured array of the fields {fields}: numpy.lib.recfunctions.structured_to_unstructured "
                "makes one of numbers"
            )
            raise TypeError(msg)
        if array.dtype.kind in "USTO" and array.ndim:
            array = _numbers(array)
        return numpy.asarray(array, dtype=dtype)


def _plain(x: Any) -> Any:
    """Return what NumPy can make an array of."""
    if hasattr(x, "toarray") and hasattr(x, "nnz"):
        msg = f"it is a sparse {type(x).__name__}: .toarray() makes an array of it"
        raise TypeError(msg)
    if hasattr(x, "collect") and not hasattr(x, "to_numpy"):
        msg = f"it is a {type(x).__name__}: .collect() makes a data frame of it"
        raise TypeError(msg)
    if hasattr(x, "dtypes") and hasattr(x, "columns"):  # a data frame of pandas or polars
        if hasattr(x, "iloc") and all(isinstance(each, numpy.dtype) and each.kind in "iuf" for each in x.dtypes):
            array = x.to_numpy()  # without a copy, where all columns are of one type
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
    # Column by column into place: a frame of several types has no array that could be shared.
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
        msg = f"{what} has missing values ({int(missing)}): fill them or drop their rows first"
        raise ValueError(msg)
    if kind.lower().startswith(("category", "categorical", "enum", "dictionary")):
        msg = f"{what} is of {kind}, which is no number: take its codes, or a column of 0 and 1 for each category"
        raise TypeError(msg)
    array = numpy.asarray(column.to_numpy())
    if array.dtype == object:
        array = _numbers(array, what)
    if array.dtype.kind not in "biuf" or array.ndim != 1:
        msg = f"{what} is of {kind}, which is no number: turn it into numbers, or leave it out"
        raise TypeError(msg)
    return array


def _refuse_masked(x: Any) -> None:
    if isinstance(x, numpy.ma.MaskedArray) and numpy.ma.is_masked(x):
        msg = "it is a masked array, whose masked values would be taken for numbers; fill them or drop them first"
        raise ValueError(msg)


def _refuse_in_list(x: Sequence[Any]) -> None:
    """Refuse, in a list of lists, what NumPy would take for something else or fail at."""
    level: Any = x
    for _ in range(4):  # lists in lists, and no array of data has more axes
        deeper: list[Any] = []
        for kind in set(map(type, level)):  # a long list has few types
            if issubclass(kind, (list, tuple)):
                deeper += [each for each in level if type(each) is kind]
            elif issubclass(kind, numpy.ma.MaskedArray):
                for each in level:
                    _refuse_masked(each)
            elif hasattr(kind, "__dlpack__") and not issubclass(kind, (numpy.ndarray, numpy.generic)):
                library = kind.__module__.partition(".")[0]
                msg = f"it is a list of arrays of {library}: stack them into one array first"
                raise TypeError(msg)
        level = list(chain.from_iterable(deeper))
        if not level:
            return


def _numbers(array: Any, what: str = "it") -> Any:
    """Return an array of objects as one of floats, if they are numbers."""
    for index, each in numpy.ndenumerate(array):
        if not isinstance(each, (Real, Decimal, numpy.bool)) or isinstance(each, numpy.timedelta64):
            place = ", ".join(map(str, index))
            msg = f"{what} holds {_few_words(each)} at [{place}], which is no number"
            raise (HoldsText if isinstance(each, (str, bytes)) else TypeError)(msg)
    try:
        return array.astype("float64")
    except OverflowError:
        msg = f"{what} holds a number that is too great"
        raise ValueError(msg) from None


def _few_words(value: Any) -> str:
    if isinstance(value, (str, bytes)):
        words = repr(str(value) if isinstance(value, str) else bytes(value))
    else:
        words = "None" if value is None else f"a {type(value).__name__}"
    return words if len(words) < 40 else f"{words[:36]}…{words[-1]}"
