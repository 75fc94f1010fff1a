"""Fewer and shorter loops: nests are joined, numbers kept instead of stored and read again, and the rest left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from xpnet.backends.compiled.loops import Index, Let, Load, Nest, Product, Program, Reduce, Statement, Store, Value


def fuse(program: Program) -> Program:
    """Return a program that computes the same with fewer loops and fewer buffers."""
    nests: list[Nest | Product] = []
    for nest in program.nests:
        if isinstance(nest, Product) or (place := _partner(nests, nest)) is None:
            nests.append(nest)
        else:
            nests[place] = _joined(nests[place], nest)  # type: ignore[arg-type]
    nests = [nest if isinstance(nest, Product) else _forwarded(nest) for nest in nests]
    while True:
        read = {access.buffer for nest in nests for access, _ in nest.accesses() if isinstance(access, Load)}
        scratch = {name for name, buffer in program.buffers.items() if buffer.kind == "scratch"}
        unread = scratch - read - {"loss"}
        kept = [nest if isinstance(nest, Product) else _without(nest, unread) for nest in nests]
        kept = [nest for nest in kept if any(isinstance(each, Store) for each, _ in nest.accesses())]
        if kept == nests:
            break
        nests = kept
    used = {access.buffer for nest in nests for access, _ in nest.accesses()}
    buffers = {name: each for name, each in program.buffers.items() if each.kind != "scratch" or name in used}
    return Program(buffers, nests, program.types)


def _partner(nests: list[Nest | Product], nest: Nest) -> int | None:
    """Return the place of the nearest earlier nest that can do this one's work too, if there is one."""
    for place in range(len(nests) - 1, -1, -1):
        other = nests[place]
        if not isinstance(other, Product) and _extents(other) == _extents(nest) and _pointwise(other, nest):
            return place
        if _conflict(other, nest):
            return None
    return None


def _extents(nest: Nest) -> list[int]:
    return [extent for _, extent in nest.variables]


def _pointwise(first: Nest, second: Nest) -> bool:
    """Return whether one pass can do the work of both: what one writes the other touches at the same place alone."""
    names = {new: old for (old, _), (new, _) in zip(first.variables, second.variables, strict=True)}
    own = {name for name, _ in first.variables}
    for one, of_one in first.accesses():
        for two, of_two in second.accesses():
            if _interfere(one, of_one, two, of_two):
                index = one.place
                # Each pass has a place of its own: else one would find what another has left.
                if index != two.place.renamed(names) or {variable for variable, _ in index.terms} != own:
                    return False
    return True


def _conflict(first: Nest | Product, second: Nest) -> bool:
    """Return whether the order of two nests matters."""
    return any(_interfere(*one, *two) for one in first.accesses() for two in second.accesses())


def _interfere(one: Load | Store, of_one: dict[str, int], two: Load | Store, of_two: dict[str, int]) -> bool:
    """Return whether one of two accesses, with the extents of their variables, may write what the other touches."""
    if one.buffer != two.buffer or not (isinstance(one, Store) or isinstance(two, Store)):
        return False
    (a, b), (c, d) = one.place.bounds(of_one), two.place.bounds(of_two)
    return a <= d and c <= b


def _joined(first: Nest, second: Nest) -> Nest:
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
        return statement._replace(place=statement.place.renamed(names))
    return statement


def _forwarded(nest: Nest) -> Nest:
    """Compute and read everything once, and use numbers that were stored instead of reading them again."""
    same: dict[str, Value] = {}
    lets: dict[object, str] = {}
    held: dict[tuple[str, Index], Value] = {}

    def of(value: Value) -> Value:
        return same.get(value, value) if isinstance(value, str) else value

    at: list[list[Statement]] = []
    for statements in nest.at:
        kept: list[Statement] = []
        for each in statements:
            match each:
                case Load(name, buffer, index):
                    if (buffer, index) in held:
                        same[name] = held[buffer, index]
                    else:
                        held[buffer, index] = name
                        kept.append(each)
                case Let(name, op, args):
                    args = tuple(map(of, args))
                    key = (op, tuple((type(arg), arg) for arg in args))
                    if key in lets:
                        same[name] = lets[key]
                    else:
                        lets[key] = name
                        kept.append(Let(name, op, args))
                case Store(buffer, index, value):
                    held = {place: value for place, value in held.items() if place[0] != buffer}
                    held[buffer, index] = of(value)
                    kept.append(Store(buffer, index, of(value)))
                case Reduce(name, op, variables, body, value):
                    inside = tuple(
                        Let(one.name, one.op, tuple(map(of, one.args))) if isinstance(one, Let) else one for one in body
                    )
                    kept.append(Reduce(name, op, variables, inside, of(value)))
        at.append(kept)
    return replace(nest, at=at)


def _without(nest: Nest, unread: set[str]) -> Nest:
    """Leave out stores that nobody reads, and numbers that nothing needs."""
    needed: set[Value] = set()
    at: list[list[Statement]] = []
    for statements in reversed(nest.at):
        kept: list[Statement] = []
        for each in reversed(statements):
            match each:
                case Store(buffer, _, value):
                    if buffer in unread:
                        continue
                    needed.add(value)
                case Reduce(name, _, _, body, value):
                    if name not in needed:
                        continue
                    needed |= {value, *(arg for one in body if isinstance(one, Let) for arg in one.args)}
                case Let(name, _, args):
                    if name not in needed:
                        continue
                    needed |= set(args)
                case Load(name, _, _):
                    if name not in needed:
                        continue
            kept.append(each)
        at.append(kept[::-1])
    return replace(nest, at=at[::-1])
