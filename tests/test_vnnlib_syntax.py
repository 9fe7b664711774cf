# SPDX-License-Identifier: Apache-2.0
"""VNN-LIB as text: trees, queries and assignments come back as they were; refusals name names."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoform.errors import FormatError, IsoformError, Refused, TooLarge
from isoform.formats.vnnlib.export import query_text
from isoform.formats.vnnlib.linear import Row
from isoform.formats.vnnlib.query import Declared, Query, Variable
from isoform.formats.vnnlib.reader import query_of, read_query
from isoform.formats.vnnlib.syntax import (
    Brackets,
    Group,
    Quoted,
    Word,
    decimal_text,
    number,
    parse,
    write,
)
from vnnlib_texts import acas, box, declared, monotone, same, two

# --- trees ------------------------------------------------------------------------------------

LEAVES = st.one_of(
    st.sampled_from(["assert", "<=", "X_0", "declare-input", "-0.5", "<2.0>", "=="]).map(Word),
    st.sampled_from(['"a b;("', "|x\ny|"]).map(Quoted),
    st.lists(st.integers(0, 99), max_size=3).map(lambda ns: Brackets(tuple(ns))),
)
GROUPS = st.recursive(
    st.lists(LEAVES, max_size=4).map(lambda items: Group(tuple(items))),
    lambda inner: st.lists(st.one_of(LEAVES, inner), max_size=4).map(
        lambda items: Group(tuple(items))),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(GROUPS, max_size=4))
def test_trees_come_back(trees: list[Group]) -> None:
    text = write(trees)
    assert parse(text) == tuple(trees)
    assert write(parse(text)) == text


def test_lines_comments_and_spaces() -> None:
    tree, = parse('; first\n(a ; (\n  X [ 0 , 3 ] "no ; comment"\n)')
    assert tree == Group((Word("a"), Word("X"), Brackets((0, 3)), Quoted('"no ; comment"')))
    assert [item.line for item in tree.items] == [2, 3, 3, 3]
    assert tree.line == 2
    assert write([tree]) == '(a X[0,3] "no ; comment")\n'
    declaration = "(declare-input X float32 [1,5])\n"
    assert write(parse(declaration)) == declaration


@pytest.mark.parametrize(("text", "message"), [
    ("(a", "ends inside of 1 open parentheses, the last of line 1"),
    ("\n)", "line 2: '\\)' outside"),
    ("a", "outside of parentheses"),
    ("(X[0)", "line 1: '\\)' inside of brackets"),
    ("(X[0,])", "no list of whole numbers"),
    ("(X[1 4])", "no list of whole numbers"),
    ("(X[-1])", "no list of whole numbers"),
    ("(X[01])", "no list of whole numbers"),
    ("(X[9999999999])", "no list of whole numbers"),
    ("(X[0", "inside of the brackets of line 1"),
    ("(X])", "outside of brackets"),
    ("(a, b)", "outside of brackets"),
    ('(a "b)', "does not end"),
])
def test_bad_syntax(text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        parse(text)


def test_deep_trees_are_no_crash() -> None:
    deep = "(" * 100_000 + "a" + ")" * 100_000
    assert write(parse(deep)) == deep + "\n"


@settings(max_examples=300, deadline=None)
@given(st.integers(-10**12, 10**12), st.integers(0, 60), st.integers(0, 20))
def test_decimals_are_exact(numerator: int, twos: int, fives: int) -> None:
    value = Fraction(numerator, 2**twos * 5**fives)
    text = decimal_text(value)
    assert text is not None and "e" not in text and number(text) == value


def test_numbers_without_an_end() -> None:
    assert decimal_text(Fraction(1, 3)) is None
    assert decimal_text(Fraction(1, 2**1074)) is None  # too long
    assert [number(text) for text in ("1e-3", ".5", "5.", "1e9999", "0x1", "nan", "1_0")] == [
        Fraction(1, 1000), Fraction(1, 2), 5, None, None, None, None]


# --- queries ----------------------------------------------------------------------------------

DECIMALS = st.builds(Fraction, st.integers(-200, 200), st.sampled_from([1, 2, 4, 5, 10, 1000]))
FACTORS = st.one_of(st.sampled_from([Fraction(1), Fraction(-1)]), DECIMALS.filter(bool))


@st.composite
def queries(draw: st.DrawFn) -> Query:
    flat = draw(st.booleans())
    count = 1 if flat else draw(st.integers(1, 3))
    nets, first = [], 0
    for k in range(count):
        shapes = ((2,), (3,)) if flat else ((1, 2), draw(st.sampled_from([(1, 3), (), (2, 1, 2)])))
        tensors = []
        for kind, letter, shape in zip(("input", "output"), "XY", shapes, strict=True):
            name = letter if flat else f"{letter}{k}"
            onnx = None if flat else draw(st.sampled_from([None, "layer.0/out"]))
            tensors.append(Variable(name=name, kind=kind, dtype="Real" if flat else "float32",
                                    shape=shape, first=first, onnx=onnx))
            first += tensors[-1].size
        relation = ("isomorphic-to", "n0") if k and shapes == shape_pair(nets[0]) else None
        nets.append(Declared(name="N" if flat else f"n{k}", inputs=(tensors[0],),
                             outputs=(tensors[1],), relation=relation))
    terms = st.dictionaries(st.integers(0, first - 1), FACTORS, max_size=3)
    rows = st.builds(lambda t, b, s: Row(tuple(sorted(t.items())), b, s), terms, DECIMALS,
                     st.booleans())
    branch = st.lists(rows, min_size=1, max_size=3).map(tuple)
    branches = draw(st.one_of(st.just([()]), st.lists(branch, min_size=2, max_size=3)))
    common = draw(st.lists(rows, max_size=4))
    common += [twin for row in common[:1] if not row.strict for twin in (row, turned(row))]
    return Query(version="1.0" if flat else "2.0", networks=tuple(nets), common=tuple(common),
                 branches=tuple(branches))


def shape_pair(net: Declared) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return net.inputs[0].shape, net.outputs[0].shape


def turned(row: Row) -> Row:
    return Row(tuple((at, -factor) for at, factor in row.terms), -row.bound, row.strict)


@settings(max_examples=300, deadline=None)
@given(queries())
def test_queries_come_back(query: Query) -> None:
    text = query_text(query, ["a remark\nof two lines"])
    assert query_of(text) == query
    assert parse(write(parse(text))) == parse(text)


def test_rows_whose_decimals_do_not_end_are_multiplied() -> None:
    query = query_of(acas(3, "1.0"))
    third = Row(((0, Fraction(1)), (5, Fraction(-2))), Fraction(1, 3))
    text = query_text(Query(version="1.0", networks=query.networks, common=(third,),
                            branches=((),)))
    assert query_of(text).common == (
        Row(((0, Fraction(3)), (5, Fraction(-6))), Fraction(1)),)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_acas_in_both_versions_is_the_same_query(number: int) -> None:
    old, new = query_of(acas(number, "1.0")), query_of(acas(number, "2.0"))
    assert (old.common, old.branches) == (new.common, new.branches)
    assert old.size == new.size == 10
    assert (old.entry(3), new.entry(3)) == ("X_3", "X[0,0,0,3]")
    assert (old.version, new.version) == ("1.0", "2.0")


def test_arithmetic_and_alternatives() -> None:
    query = query_of(two() + """
        (assert (<= (+ X[0,0] (* 2 (- U[0,1] 3.5) -1) (- X[0,0])) (- 1 2 3)))
        (assert (or (and (> Y[0,0] V[0,0]) (!= X[0,1] 0)) (== (- Y[0,0]) 1e-1)))""")
    assert query.common == (Row(((4, Fraction(-2)),), Fraction(-11)),)
    up, tenth = Row(((2, Fraction(-1)), (5, Fraction(1))), Fraction(0), True), Fraction(1, 10)
    assert query.branches == (
        (up, Row(((1, Fraction(1)),), Fraction(0), True)),
        (up, Row(((1, Fraction(-1)),), Fraction(0), True)),
        (Row(((2, Fraction(-1)),), tenth), Row(((2, Fraction(1)),), -tenth)),
    )


def test_scalars_and_onnx_names() -> None:
    query = query_of('(vnnlib-version <2.0>)(declare-network f (declare-input a Real [] "in.1")'
                     "(declare-output b real []))(assert (<= a 1))(assert (>= b[] (* 2 a)))")
    assert query.networks[0].inputs[0].onnx == "in.1"
    assert query.common[1] == Row(((0, Fraction(2)), (1, Fraction(-1))), Fraction(0))
    assert query.entry(1) == "b"


NET = "(vnnlib-version <2.0>)" + declared("f", "XY", (1, 2), (1, 1))


@pytest.mark.parametrize(("text", "error", "message"), [
    (NET + "\n(assert (<= (* X[0,0] Y[0,0]) 1))", Refused, r"line 2: a product of X\[0,0\] and Y"),
    (NET + "(assert (<= (/ 1 X[0,0]) 1))", Refused, r"division by X\[0,0\]"),
    (NET + "(assert (<= (/ X[0,0] 0) 1))", FormatError, "division by zero"),
    (NET + "(assert (<= Z[0] 1))", FormatError, "Z is not declared"),
    (NET + "(assert (<= Z 1))", FormatError, "Z is not declared"),
    (NET + "(assert (<= X_0 1))", FormatError, "X_0 is not declared"),
    (NET + "(assert (<= X[0,2] 1))", FormatError, r"X\[0, 2\] is outside of its shape \[1, 2\]"),
    (NET + "(assert (<= X[0] 1))", FormatError, "names 1 of the 2 axes"),
    (NET + "(assert (<= X 1))", FormatError, "names 0 of the 2 axes"),
    (NET + "(assert (<= X[0,0][0] 1))", FormatError, "without a tensor"),
    (NET + "(assert (<= [0] 1))", FormatError, "without a tensor"),
    (NET + "(assert (not (<= X[0,0] 1)))", Refused, "'not'"),
    (NET + "(assert (=> (<= X[0,0] 1) (<= X[0,0] 1)))", Refused, "'=>'"),
    (NET + "(assert (<= X[0,0] 1 2))", FormatError, "compares two terms, not 3"),
    (NET + "(assert X)", FormatError, "'X' where a comparison"),
    (NET + "(assert (and))", FormatError, "'and' of nothing"),
    (NET + "(assert (<= (+) 1))", FormatError, "of nothing"),
    (NET + "(assert)", FormatError, "0 parts"),
    (NET + "()", FormatError, "empty command"),
    (NET + "(declare-const X_0 Real)", FormatError, "as in 1.0"),
    (NET + "(vnnlib-version <2.0>)", FormatError, "at the beginning"),
    (NET + NET[22:], FormatError, "network f is declared twice"),
    (NET + declared("g", "XV", (1, 2), (1, 1)), FormatError, "X is declared twice"),
    (NET + declared("g", "UV", (1, 2), (1, 1), "(equal-to h)"), FormatError, "not declared before"),
    (NET + declared("g", "UV", (1, 3), (1, 1), "(equal-to f)"), FormatError, "other shapes"),
    (two("(equal-to f)") + declared("h", "AB", (1, 2), (1, 1), "(isomorphic-to g)"), FormatError,
     "carries equal-to itself"),
    (NET + declared("g", "UV", (1, 2), (1, 1), "(equal-to f)(isomorphic-to f)"), FormatError,
     "more than one"),
    ("(vnnlib-version <3.0>)", Refused, "3.0"),
    ("(vnnlib-version 2)", FormatError, "is written"),
    ("(vnnlib-version <1.0>)" + NET[22:], FormatError, "in a file of 1.0"),
    ("(declare-network f (declare-input X float32 [2])(declare-hidden H float32 [3] \"h\")"
     "(declare-output Y float32 [1]))", Refused, "H is a hidden tensor"),
    ("(declare-network f (declare-input X int64 [2])(declare-output Y float32 [1]))", Refused,
     "X has type 'int64'"),
    ("(declare-network f (declare-input X float32 [2,0])(declare-output Y float32 [1]))",
     FormatError, "without any entry"),
    ("(declare-network f (declare-input X float32)(declare-output Y float32 [1]))", FormatError,
     "is written"),
    ("(declare-network f (declare-output Y float32 [1]))", FormatError, "one of each kind"),
    ("(declare-network f (declare-output Y float32 [1])(declare-input X float32 [1]))", FormatError,
     "inputs come first"),
    ("(declare-network 1f (declare-input X float32 [2])(declare-output Y float32 [1]))",
     FormatError, "'1f' is no name"),
    ("(declare-network f (declare-input X float32 [99999999,999])(declare-output Y Real [1]))",
     TooLarge, "entries"),
    ("(declare-const X_0 Real)", FormatError, "Y_0"),
    ("(declare-const X_0 Real)(declare-const X_2 Real)", FormatError, "without a gap"),
    ("(declare-const Q Real)", Refused, "'Q'"),
    ("(push 1)", Refused, "'push'"),
    ("", FormatError, "declared"),
])
def test_refused_queries(text: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        query_of(text)


def test_alternatives_are_bounded() -> None:
    choice = "(assert (or " + " ".join(f"(<= X[0,0] {i})" for i in range(30)) + "))"
    with pytest.raises(TooLarge, match="alternatives"):
        query_of(NET + choice * 4)


def test_numbers_are_bounded() -> None:
    huge = "1" + "0" * 1900
    with pytest.raises(TooLarge, match="bits"):
        query_of(NET + f"(assert (<= (* {' '.join([huge] * 40)}) X[0,0]))")


def test_files_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "q.vnnlib"
    path.write_text(acas(1, "2.0"))
    assert read_query(path).size == 10
    with pytest.raises(TooLarge, match="limit is 100"):
        read_query(path, limit_bytes=100)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match="no text"):
        read_query(path)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([
    "(", ")", "[", "]", ",", " ", "\n", "X", "Y", "[0,0]", "[0,1]", "<=", "==", "and", "or", "+",
    "*", "-", "1", "0.5", "assert", "f", '"', ";", "declare-network", "equal-to", "float32",
]), max_size=30))
def test_arbitrary_text_raises_our_errors_only(parts: list[str]) -> None:
    for head in ("", NET, NET + "(assert ", two() + box("X", 2, 0, 1) + same(2) + "(assert (<= "):
        with contextlib.suppress(IsoformError):
            query_of(head + " ".join(parts))


def test_the_example_texts_read() -> None:
    assert len(query_of(monotone(3)).branches) == 1
