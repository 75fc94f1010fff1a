"""Optimization of loops: merges nests, reuses stored numbers, removes unused results, computes two values at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from xpnet.backends.compiled.loops import (
    Index,
    Let,
    Load,
    Nest,
    Product,
    Program,
    Reduce,
    Statement,
    Store,
    Value,
    names_read,
)


def fuse(program: Program) -> Program:
    """Return a program that computes the same with fewer loops and fewer buffers."""
    nests: list[Nest | Product] = []
    for nest in program.nests:
        if isinstance(nest, Product) or (position := _fusable(nests, nest)) is None:
            nests.append(nest)
        else:
            nests[position] = _merge(nests[position], nest)  # type: ignore[arg-type]
    nests = [nest if isinstance(nest, Product) else _forward(nest) for nest in nests]
    while True:
        read = {access.buffer for nest in nests for access, _ in nest.accesses() if isinstance(access, Load)}
        scratch = {name for name, buffer in program.buffers.items() if buffer.kind == "scratch"}
        unread = scratch - read
        remaining = [nest if isinstance(nest, Product) else _remove_unread(nest, unread) for nest in nests]
        remaining = [nest for nest in remaining if any(isinstance(each, Store) for each, _ in nest.accesses())]
        if remaining == nests:
            break
        nests = remaining
    used = {access.buffer for nest in nests for access, _ in nest.accesses()}
    buffers = {name: each for name, each in program.buffers.items() if each.kind != "scratch" or name in used}
    return Program(buffers, nests, program.types)


def _fusable(nests: list[Nest | Product], nest: Nest) -> int | None:
    """Return the position of the last earlier nest that can be merged with a nest, or None."""
    for position in range(len(nests) - 1, -1, -1):
        other = nests[position]
        if not isinstance(other, Product) and _extents(other) == _extents(nest) and _pointwise(other, nest):
            return position
        if _conflict(other, nest):
            return None
    return None


def _extents(nest: Nest) -> list[int]:
    return [extent for _, extent in nest.variables]


def _pointwise(first: Nest, second: Nest) -> bool:
    """Return whether two nests can be merged: what one writes, the other accesses only in the same iteration."""
    names = {new: old for (old, _), (new, _) in zip(first.variables, second.variables, strict=True)}
    variables = {name for name, _ in first.variables}
    for one, extents_one in first.accesses():
        for two, extents_two in second.accesses():
            if _interfere(one, extents_one, two, extents_two):
                index = one.position
                # Every iteration must have a different position, or it would read what another iteration wrote.
                if index != two.position.renamed(names) or {variable for variable, _ in index.terms} != variables:
                    return False
    return True


def _conflict(first: Nest | Product, second: Nest) -> bool:
    """Return whether the order of two nests matters."""
    return any(_interfere(*one, *two) for one in first.accesses() for two in second.accesses())


def _interfere(one: Load | Store, extents_one: dict[str, int], two: Load | Store, extents_two: dict[str, int]) -> bool:
    """Return whether one of two accesses, with the extents of their variables, may write what the other accesses."""
    if one.buffer != two.buffer or not (isinstance(one, Store) or isinstance(two, Store)):
        return False
    (a, b), (c, d) = one.position.bounds(extents_one), two.position.bounds(extents_two)
    return a <= d and c <= b


def _merge(first: Nest, second: Nest) -> Nest:
    names = {new: old for (old, _), (new, _) in zip(first.variables, second.variables, strict=True)}
    at = [
        [*earlier, *(_renamed(each, names) for each in later)]
        for earlier, later in zip(first.at, second.at, strict=True)
    ]
    return Nest(first.variables, at)


def _renamed(statement: Statement, names: Mapping[str, str]) -> Statement:
    if isinstance(statement, Reduce):
        return statement._replace(body=tuple(_renamed(each, names) for each in statement.body))  # type: ignore[misc]
    if isinstance(statement, (Load, Store)):
        return statement._replace(position=statement.position.renamed(names))
    return statement


def _forward(nest: Nest) -> Nest:
    """Return a nest that computes and reads each number once, and reuses numbers after storing them."""
    replaced: dict[str, Value] = {}
    lets: dict[object, str] = {}
    stored: dict[tuple[str, Index], Value] = {}

    def resolve(value: Value) -> Value:
        return replaced.get(value, value) if isinstance(value, str) else value

    at: list[list[Statement]] = []
    for statements in nest.at:
        remaining: list[Statement] = []
        for each in statements:
            match each:
                case Load(name, buffer, index):
                    if (buffer, index) in stored:
                        replaced[name] = stored[buffer, index]
                    else:
                        stored[buffer, index] = name
                        remaining.append(each)
                case Let(name, op, args):
                    args = tuple(map(resolve, args))
                    key = (op, tuple((type(arg), arg) for arg in args))
                    if key in lets:
                        replaced[name] = lets[key]
                    else:
                        lets[key] = name
                        remaining.append(Let(name, op, args))
                case Store(buffer, index, value):
                    stored = {position: value for position, value in stored.items() if position[0] != buffer}
                    stored[buffer, index] = resolve(value)
                    remaining.append(Store(buffer, index, resolve(value)))
                case Reduce(name, op, variables, body, value):
                    inside = tuple(
                        Let(one.name, one.op, tuple(map(resolve, one.args))) if isinstance(one, Let) else one
                        for one in body
                    )
                    remaining.append(Reduce(name, op, variables, inside, resolve(value)))
        at.append(remaining)
    return replace(nest, at=at)


def _remove_unread(nest: Nest, unread: set[str]) -> Nest:
    """Return a nest without stores to unread buffers, and without numbers that are not used."""
    needed: set[Value] = set()
    at: list[list[Statement]] = []
    for statements in reversed(nest.at):
        remaining: list[Statement] = []
        for statement in reversed(statements):
            each = statement
            match each:
                case Store(buffer, _, value):
                    if buffer in unread:
                        continue
                    needed.add(value)
                case Reduce(name, op, variables, body, value):
                    if name not in needed:
                        continue
                    needed.add(value)
                    used: list[Load | Let] = []
                    for one in reversed(body):
                        if one.name in needed:
                            used.append(one)
                            needed |= set(one.args) if isinstance(one, Let) else set()
                    each = Reduce(name, op, variables, tuple(used[::-1]), value)
                case Let(name, _, args):
                    if name not in needed:
                        continue
                    needed |= set(args)
                case Load(name, _, _):
                    if name not in needed:
                        continue
            remaining.append(each)
        at.append(remaining[::-1])
    return replace(nest, at=at[::-1])


def jam(nest: Nest, types: dict[str, str]) -> Nest:
    """Return a nest whose last loop computes two values of its variable at a time; add the types of new names.

    What both need is then loaded once ("unroll and jam"). This saves time for reductions only, and needs an even number
    of values; other nests are returned as they are.
    """
    if not nest.variables or nest.variables[-1][1] % 2 or not any(isinstance(each, Reduce) for each in nest.at[-1]):
        return nest
    (*outer, (variable, extent)), at = nest.variables, []
    second: dict[str, str] = {}  # the names of the second value
    for each in nest.at[-1]:
        if not (_uses(each, variable) or names_read(each) & second.keys()):
            at.append(each)
            continue
        at += [_at(each, variable, 0, {}), _at(each, variable, 1, second)]
        types.update({new: types[old] for old, new in second.items()})
    return Nest((*outer, (variable, extent // 2)), [*nest.at[:-1], at])


def _uses(statement: Statement, variable: str) -> bool:
    """Return whether a statement accesses a buffer at a position that depends on a variable."""
    if isinstance(statement, Reduce):
        return any(_uses(each, variable) for each in statement.body)
    return isinstance(statement, (Load, Store)) and variable in dict(statement.position.terms)


def _at(statement: Any, variable: str, k: int, names: dict[str, str]) -> Any:
    """Return a statement at 2 · variable + k; for k = 1, with new names for the numbers that it defines."""

    def named(value: Value) -> Value:
        return names.get(value, value) if isinstance(value, str) else value

    def defined(name: str) -> str:
        return names.setdefault(name, f"{name}_next") if k else name

    match statement:
        case Load(name, buffer, index):
            return Load(defined(name), buffer, index.replaced(variable, 2, k))
        case Let(name, op, args):
            return Let(defined(name), op, tuple(map(named, args)))
        case Store(buffer, index, value):
            return Store(buffer, index.replaced(variable, 2, k), named(value))
        case Reduce(name, op, variables, body, value):
            inside = tuple(_at(each, variable, k, names) for each in body)
            return Reduce(defined(name), op, variables, inside, named(value))
    raise AssertionError(statement)
