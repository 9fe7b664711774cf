# SPDX-License-Identifier: Apache-2.0
"""Properties in VNN-LIB for the tests. The boxes and relations of ACAS Xu's properties 1 to 4 are
those of Katz et al. (Reluplex, CAV 2017), inputs normalised as in the files of VNN-COMP."""

from __future__ import annotations

ACAS_BOXES = {
    1: [("0.6", "0.679857769"), ("-0.5", "0.5"), ("-0.5", "0.5"), ("0.45", "0.5"),
        ("-0.5", "-0.45")],
    2: [("0.6", "0.679857769"), ("-0.5", "0.5"), ("-0.5", "0.5"), ("0.45", "0.5"),
        ("-0.5", "-0.45")],
    3: [("-0.303529646", "-0.298552812"), ("-0.009549297", "0.009549297"),
        ("0.493380324", "0.5"), ("0.3", "0.5"), ("0.3", "0.5")],
    4: [("-0.303529646", "-0.298552812"), ("-0.009549297", "0.009549297"), ("0", "0"),
        ("0.318181818", "0.5"), ("0.083333333", "0.166666667")],
}
ACAS_OUTPUTS = {1: [(0, ">=", "3.991125645861615")], 2: [(0, ">=", i) for i in range(1, 5)],
                3: [(0, "<=", i) for i in range(1, 5)], 4: [(0, "<=", i) for i in range(1, 5)]}


def acas(number: int, version: str) -> str:
    """The negation of a property of ACAS Xu, as a query."""
    new = version == "2.0"

    def x(i: int) -> str:
        return f"X[0,0,0,{i}]" if new else f"X_{i}"

    def y(i: object) -> str:
        return str(i) if isinstance(i, str) else f"Y[0,{i}]" if new else f"Y_{i}"

    lines = [declared("N", "XY", (1, 1, 1, 5), (1, 5))] if new else [
        f"(declare-const {letter}_{i} Real)" for letter in "XY" for i in range(5)]
    for i, (low, high) in enumerate(ACAS_BOXES[number]):
        lines += [f"(assert (<= {x(i)} {high}))", f"(assert (>= {x(i)} {low}))"]
    lines += [f"(assert ({sign} {y(a)} {y(b)}))" for a, sign, b in ACAS_OUTPUTS[number]]
    return "\n".join(["(vnnlib-version <2.0>)", *lines] if new else lines) + "\n"


def declared(
    name: str, letters: str, inputs: tuple[int, ...], outputs: tuple[int, ...], relation: str = "",
    dtype: str = "float32",
) -> str:
    """One network of 2.0."""
    shapes = [",".join(map(str, shape)) for shape in (inputs, outputs)]
    return (f"(declare-network {name} {relation} (declare-input {letters[0]} {dtype} "
            f"[{shapes[0]}]) (declare-output {letters[1]} {dtype} [{shapes[1]}]))")


def two(relation: str = "", n: int = 2, m: int = 1) -> str:
    """The head of a query about f (X, Y) and g (U, V)."""
    return "\n".join(["(vnnlib-version <2.0>)", declared("f", "XY", (1, n), (1, m)),
                      declared("g", "UV", (1, n), (1, m), relation), ""])


def box(letter: str, n: int, low: object, high: object) -> str:
    """Bounds of all entries of a tensor [1, n]."""
    return "".join(f"(assert (>= {letter}[0,{i}] {low}))(assert (<= {letter}[0,{i}] {high}))\n"
                   for i in range(n))


def same(n: int) -> str:
    """X and U identified."""
    return "".join(f"(assert (== X[0,{i}] U[0,{i}]))\n" for i in range(n))


def monotone(n: int, at: int = 0) -> str:
    """Does an output fall where input `at` grows? Two copies of one network."""
    rest = "".join(f"(assert (== X[0,{i}] U[0,{i}]))\n" for i in range(n) if i != at)
    bounds = "".join(box(letter, n, -1, 1) for letter in "XU")
    return (two("(equal-to f)", n) + bounds + rest
            + f"(assert (<= X[0,{at}] U[0,{at}]))\n(assert (> Y[0,0] V[0,0]))\n")
