# SPDX-License-Identifier: Apache-2.0
"""Claims as queries for other verifiers, and queries as text.

2.0: both networks are declared, their inputs identified element by element, and an assignment is a
point where the claim fails. 1.0: one network, the difference d = g - f (beside f, where a set says
something of f), and closed inequalities only, which most tools are restricted to: `unsat` proves a
little more than the claim, and a `sat` point on the boundary is none that refutes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from math import lcm

from isoform.errors import Refused, TooLarge
from isoform.formats.vnnlib.linear import MOST_ALTERNATIVES, Row
from isoform.formats.vnnlib.query import FLAT, Declared, Query, Variable, entry_name
from isoform.formats.vnnlib.syntax import Brackets, Group, Node, Word, decimal_text, write
from isoform.network.claim import Avoids, Claim, Forbidden, RegionCount, forbidden_sets
from isoform.network.domain import Box, Domain, Polytope, Union
from isoform.network.model import Loaded, Signature, Tensor

ONE = Fraction(1)


def claim_query(claim: Claim, source: Loaded, target: Loaded) -> Query:
    """The query in 2.0 of a claim on a bound domain: f with inputs X, X1, ... and outputs Y, Y1,
    ..., g with U and V; g is left out where it is f itself.

    Refused, by name, for domains that are no boxes, polytopes or unions of them, and for claims
    that are about no point.
    """
    n, m = source.network.dimension, source.network.output_dimension
    other = target.network.output_dimension
    alone = target is source
    nets = network_declarations(source, target)
    start = n + m + (0 if alone else n)  # of the outputs of g among the entries of the query

    def entry(column: int) -> int:
        if column < n + m:
            return column
        if alone:
            raise Refused("a row about a second network in a property of one")
        return start + column - n - m

    same = [] if alone else [
        Row(((i, sign * ONE), (n + m + i, -sign * ONE)), Fraction(0)) for i in range(n)
        for sign in (1, -1)
    ]
    sets = [
        [replace(row, terms=tuple((entry(at), c) for at, c in row.terms)) for row in rows]
        for rows in sets_of(claim, n, m, other)
    ]
    places = [list(part) for part in domain_rows(claim.domain)]
    return together("2.0", nets, places, same, sets)


def network_declarations(source: Loaded, target: Loaded) -> tuple[Declared, ...]:
    """f and g; f alone where `target` is `source`."""
    first = declared("f", "XY", source.signature, 0)
    if target is source:
        return (first,)
    start = source.network.dimension + source.network.output_dimension
    return first, declared("g", "UV", target.signature, start)


def joint_query(claim: Claim, n: int, m: int, other: int, *, alone: bool) -> tuple[Query, bool]:
    """The query in 1.0 over one network x -> d = g - f, and whether it is (f, d) instead, with f
    first. alone: the network is f itself, for a claim about one network.

    Refused for an equality (closed inequalities cannot ask for d != 0), for outputs that differ in
    number, and as in `claim_query`.
    """
    if not alone and m != other:
        raise Refused(f"one network has {m} outputs, the other {other}; they have no difference")
    sets = sets_of(claim, n, m, other)
    with_f = not alone and any(about_f(row, n, m) for rows in sets for row in rows)
    if not alone and not with_f and any(
        len(rows) == 1 and rows[0].strict and not rows[0].bound for rows in sets
    ):
        raise Refused("an equality has no query of closed inequalities (d = 0 would be sat); ask "
                      "within an eps, or take the query in 2.0")
    if not alone:
        sets = [[of_difference(row, n, m, with_f) for row in rows] for rows in sets]
    closed = [[replace(row, strict=False) for row in rows] for rows in sets]
    size = 2 * m if with_f else m
    net = Declared(
        name=FLAT,
        inputs=(Variable(name="X", kind="input", dtype="Real", shape=(n,), first=0),),
        outputs=(Variable(name="Y", kind="output", dtype="Real", shape=(size,), first=n),),
    )
    places = [list(part) for part in domain_rows(claim.domain)]
    return together("1.0", (net,), places, [], closed), with_f


def about_f(row: Row, n: int, m: int) -> dict[int, Fraction]:
    """The factors of the outputs of f, where g = f + d is put into a row over (x, f, g)."""
    found: dict[int, Fraction] = {}
    for at, factor in row.terms:
        if at >= n:
            i = (at - n) % m
            found[i] = found.get(i, Fraction(0)) + factor
    return {i: factor for i, factor in found.items() if factor}


def of_difference(row: Row, n: int, m: int, with_f: bool) -> Row:
    """A row over (x, f, g) as one over (x, d), or over (x, f, d)."""
    first = n + m if with_f else n  # of d
    terms = {at: factor for at, factor in row.terms if at < n}
    terms |= {first + at - n - m: factor for at, factor in row.terms if at >= n + m}
    if with_f:
        terms |= {n + i: factor for i, factor in about_f(row, n, m).items()}
    return replace(row, terms=tuple(sorted(terms.items())))


def sets_of(claim: Claim, n: int, m: int, other: int) -> list[list[Row]]:
    """The forbidden sets of a claim as rows over (x, f, g)."""
    if isinstance(claim.relation, RegionCount):
        raise Refused("a number of regions is no query about points")
    if not isinstance(claim.relation, Avoids) and m != other:
        raise Refused(f"one network has {m} outputs, the other {other}")
    return [rows_of(part) for part in forbidden_sets(claim.relation, n, m)]


def rows_of(part: Forbidden) -> list[Row]:
    width = part.rows.shape[1]
    numbers = part.rows.numerator.reshape(-1).tolist()
    found = []
    for i, (bound, strict) in enumerate(zip(part.bounds.fractions(), part.strict, strict=True)):
        row = numbers[i * width : (i + 1) * width]
        terms = tuple((at, Fraction(c, part.rows.denominator)) for at, c in enumerate(row) if c)
        found.append(Row(terms, bound, strict))
    return found


def domain_rows(domain: Domain) -> Iterator[Iterator[Row]]:
    """The alternatives of a bound domain as rows over the inputs."""
    match domain:
        case Box():
            yield box_rows(domain)
        case Polytope(A, b, box):
            rows = rows_of(Forbidden(A, b, (False,) * len(b)))
            yield iter([*box_rows(box), *rows])
        case Union(parts):
            for part in parts:
                yield from domain_rows(part)
        case _:
            raise Refused(f"a domain of kind {type(domain).__name__} has no query; give a box "
                          "(--on box:-1,1)")


def box_rows(box: Box) -> Iterator[Row]:
    """Upper and lower bound of each input."""
    pairs = zip(box.low.fractions(), box.high.fractions(), strict=True)
    for i, (low, high) in enumerate(pairs):
        yield Row(((i, -ONE),), -low)
        yield Row(((i, ONE),), high)


def together(
    version: str, nets: tuple[Declared, ...], places: list[list[Row]], same: list[Row],
    sets: list[list[Row]],
) -> Query:
    """The query for a point of one of `places` in one of `sets`."""
    if len(places) * len(sets) > MOST_ALTERNATIVES:
        raise TooLarge(f"{len(places):,} parts of the domain and {len(sets):,} forbidden sets are "
                       f"more than {MOST_ALTERNATIVES:,} alternatives")
    common = list(same)
    if len(places) == 1:
        common = [*places[0], *same]
        places = [[]]
    branches = [[*place, *rows] for place in places for rows in sets]
    if len(branches) == 1:
        return Query(version=version, networks=nets, common=(*common, *branches[0]), branches=((),))
    return Query(
        version=version, networks=nets, common=tuple(common), branches=tuple(map(tuple, branches))
    )


def declared(name: str, letters: str, signature: Signature, first: int) -> Declared:
    """The declaration of a network; X, X1, ... and Y, Y1, ... are its tensors in order."""
    found: list[list[Variable]] = [[], []]
    sides = (("input", signature.inputs), ("output", signature.outputs))
    for side, letter, (kind, tensors) in zip(found, letters, sides, strict=True):
        for number, tensor in enumerate(tensors):
            variable = Variable(
                name=f"{letter}{number or ''}", kind=kind, dtype=tensor.dtype,
                shape=shape_of(tensor, signature), first=first,
            )
            first += variable.size
            side.append(variable)
    return Declared(name=name, inputs=tuple(found[0]), outputs=tuple(found[1]))


def shape_of(tensor: Tensor, signature: Signature) -> tuple[int, ...]:
    """The shape in the file, a batch of one row."""
    return tensor.shape if signature.batch is None else (1, *tensor.shape)


# --- text -----------------------------------------------------------------------------------------


def query_text(query: Query, remarks: Sequence[str] = ()) -> str:
    """A query as a file, remarks as comments at its beginning. Read again it is the same query
    (rows with numbers whose decimals do not end come back multiplied by a whole number)."""
    head = "".join(f"; {line}\n" for remark in remarks for line in remark.splitlines())
    return head + write(query_commands(query))


def query_commands(query: Query) -> Iterator[Group]:
    """The commands of a query, in order."""
    names = [
        entry_name(variable, at, flat=query.flat)
        for variable in query.variables for at in range(variable.size)
    ]
    if query.flat:
        for name in names:
            yield group("declare-const", name, "Real")
    else:
        yield group("vnnlib-version", f"<{query.version}>")
        for net in query.networks:
            yield declaration(net)
    done = False  # the row was said together with the one before it
    for place, row in enumerate(query.common):
        after = query.common[place + 1 : place + 2]
        equal = not done and not query.flat and opposite(row, *after)
        if not done:
            yield group("assert", compared(row, names, "==" if equal else None))
        done = equal
    if query.branches != ((),):
        parts = [
            group("and", *(compared(row, names) for row in branch)) for branch in query.branches
        ]
        yield group("assert", group("or", *parts) if len(parts) > 1 else parts[0])


def declaration(net: Declared) -> Group:
    parts: list[Node | str] = [net.name]
    if net.relation is not None:
        parts.append(group(*net.relation))
    for variable in (*net.inputs, *net.outputs):
        onnx = [] if variable.onnx is None else [f'"{variable.onnx}"']
        parts.append(group(
            f"declare-{variable.kind}", variable.name, variable.dtype, Brackets(variable.shape),
            *onnx,
        ))
    return group("declare-network", *parts)


def group(*items: Node | str) -> Group:
    return Group(tuple(Word(item) if isinstance(item, str) else item for item in items))


def opposite(first: Row, second: Row | None = None) -> bool:
    """Whether two closed rows make one equation."""
    if second is None:
        return False
    turned = tuple((at, -factor) for at, factor in first.terms)
    closed = not (first.strict or second.strict)
    return closed and second.terms == turned and second.bound == -first.bound


def compared(row: Row, names: Sequence[str], head: str | None = None) -> Group:
    """A row as a comparison: a variable with a number or another one, else a sum with a number."""
    ends = decimal_text(row.bound) is None or any(decimal_text(c) is None for _, c in row.terms)
    if ends:
        row = whole(row)
    sign = "<" if row.strict else "<="
    turned = sign.replace("<", ">")
    factors = [factor for _, factor in row.terms]
    if factors == [ONE]:
        return group(head or sign, *reference(names[row.terms[0][0]]), text(row.bound))
    if factors == [-ONE] and head is None:
        return group(turned, *reference(names[row.terms[0][0]]), text(-row.bound))
    if not row.bound and sorted(factors) == [-ONE, ONE] and (factors[0] == 1 or head is None):
        pair = [part for at, _ in row.terms for part in reference(names[at])]
        return group(head or (sign if factors[0] == 1 else turned), *pair)
    terms = [product(names[at], factor) for at, factor in row.terms]
    flat = [part for term in terms for part in term]
    left = [group("+", *flat)] if len(terms) > 1 else flat or [Word("0.0")]
    return group(head or sign, *left, text(row.bound))


def whole(row: Row) -> Row:
    """The row times the least number that makes it one of whole numbers."""
    numbers = [row.bound, *(factor for _, factor in row.terms)]
    scale = lcm(*(number.denominator for number in numbers))
    return Row(tuple((at, c * scale) for at, c in row.terms), row.bound * scale, row.strict)


def product(name: str, factor: Fraction) -> list[Node]:
    """A term of a sum."""
    if factor == 1:
        return reference(name)
    return [group("*", text(factor), *reference(name))]


def reference(name: str) -> list[Node]:
    """`X[0,3]` as a name and brackets, `X_3` as a name."""
    bare, bracket, inside = name.partition("[")
    if not bracket:
        return [Word(bare)]
    return [Word(bare), Brackets(tuple(map(int, inside[:-1].split(","))))]


def text(value: Fraction) -> str:
    """A number that `whole` has made one with an end."""
    found = decimal_text(value)
    if found is None:
        raise TooLarge("a number of the claim has more than a thousand digits")
    return found
