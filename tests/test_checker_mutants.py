# SPDX-License-Identifier: Apache-2.0
"""Errors planted in the checker, one at a time: each must be found out.

A mutant is one rule with a line changed. The battery is random forgeries against the truth
(`test_attack_random`) and certificates of false claims that must be rejected; the true checker
passes it, and every mutant fails it.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import textwrap
from collections.abc import Callable
from fractions import Fraction

import pytest

import test_attack_random as judge
import test_attack_rules as rules
import test_relations as relations
from attack_claims import (
    DEAD,
    EQUAL,
    LINEAR,
    NEW,
    ONE,
    UNIT,
    false_codes,
    false_points,
    listed,
    merge,
    net,
    pointed,
    swept,
)
from isoform.certificate.check import check
from isoform.errors import CertificateRejected
from isoform.network.claim import Claim, Equal, Within
from isoform.network.domain import Binary, Box
from isoform.network.operators import Relu

UNITS, BASIS, CODES, SWEEP, CHECK, CONCLUSION, POINTS, ROUNDING, RESIDUE, RELATIONS = (
    f"isoform.certificate.{name}" for name in
    ("units", "basis", "codes", "sweep", "check", "conclusion", "points", "rounding", "residue",
     "relations")
)
DOMAIN, EVALUATE = "isoform.network.domain", "isoform.network.evaluate"
SPARSE, ENCLOSURE, LINEAR_MAP = (
    "isoform.numerics.sparse", "isoform.numerics.enclosure", "isoform.network.linear_map"
)

# module, function, line part, what stands there instead
MUTANTS = [
    (BASIS, "grid_up", "-((-(value.numerator << GRID)) // value.denominator)",
     "(value.numerator << GRID) // value.denominator"),
    (BASIS, "grid_down", "(value.numerator << GRID) // value.denominator",
     "-((-(value.numerator << GRID)) // value.denominator)"),
    (BASIS, "interval_range", "-((-exact) // d) if upward", "exact // d if upward"),
    (BASIS, "interval_range", "else exact // d", "else -((-exact) // d)"),
    (BASIS, "interval_range", "positive if upward else ~positive", "positive"),
    (BASIS, "interval_range", "if upward else ~(part.data > 0)", ""),
    (BASIS, "Range.relu", "np.maximum(self.high, 0)", "self.high"),
    (BASIS, "Range.relu", "np.maximum(self.low, 0)", "np.maximum(self.low, 1)"),
    (BASIS, "Range.magnitude", "np.maximum(np.abs(self.low), np.abs(self.high))",
     "np.abs(self.high)"),
    (BASIS, "Range.magnitude", "self.open_low | self.open_high",
     "self.open_low & self.open_high"),
    (BASIS, "substituted", "np.maximum(-slope * low, ((1 << SLOPE_BITS) - slope) * high)",
     "((1 << SLOPE_BITS) - slope) * high"),
    (BASIS, "substituted", "np.maximum(-slope * low, ((1 << SLOPE_BITS) - slope) * high)",
     "-slope * low"),
    (BASIS, "substituted", "upward = inside & (data > 0)", "upward = inside & (data < 0)"),
    (BASIS, "substituted", "np.where(data > 0, slope[unit], below)",
     "np.where(data < 0, slope[unit], below)"),
    (BASIS, "substituted", "np.clip(slopes.astype(np.int64), 0, 1 << HINT_BITS)",
     "slopes.astype(np.int64)"),
    (BASIS, "substituted", "bounded[unit] | np.asarray(rows.data < 0, dtype=bool)", "True"),
    (BASIS, "Basis.on", "data[fixed], columns[fixed] = box.low.numerator[fixed], 0",
     "data[fixed], columns[fixed] = box.low.numerator[fixed] + 1, 0"),
    (CODES, "asked_codes", "codes.factor.numerator <= 0", "codes.factor.numerator < 0"),
    (CODES, "asked_codes", "codes.factor.numerator <= 0", "codes.factor.numerator == 0"),
    (CODES, "distance", "if unbounded.any()", "if False"),
    (CODES, "merged", "scaled if sign > 0 else -scaled", "scaled"),
    (UNITS, "rectified", "with_residue(unit, gap, eta, basis), e[which]", "unit, e[which]"),
    (UNITS, "rectified", "with_residue(unit, gap, eta, basis), e[which]",
     "with_residue(unit, gap, eta, basis), 0 * e[which]"),
    (RESIDUE, "with_residue", "-(-eta[open_rows] >> 1)", "eta[open_rows] >> 1"),
    (RESIDUE, "with_residue", "-(-eta[open_rows] >> 1)", "-(-eta[open_rows] >> 2)"),
    (RESIDUE, "with_residue", "2 * gap.denominator", "4 * gap.denominator"),
    (RESIDUE, "with_residue", "Range(as_array(-size), size, no, no)",
     "Range(as_array(0 * size), size, no, no)"),
    (RESIDUE, "put_followers", "difference(mine, theirs if sign > 0 else -theirs).nonzeros",
     "False"),
    (RESIDUE, "put_followers", "difference(mine, theirs if sign > 0 else -theirs).nonzeros",
     "difference(mine, theirs).nonzeros"),
    (RESIDUE, "put_followers", "unit if sign > 0 else unit - theirs", "unit"),
    (RESIDUE, "put_followers", "unit if sign > 0 else unit - theirs, e[which]",
     "unit if sign > 0 else unit - theirs, 0 * e[which]"),
    (RESIDUE, "put_followers", "not np.isin(codes.code[leader], (Code.NEW, Code.MERGE, "
     "Code.NEGATIVE)).all()", "False"),
    (RESIDUE, "put_followers", "made.rows_of(leader, basis).scaled_rows(factor)",
     "made.rows_of(leader, basis)"),
    (RESIDUE, "put_related", "codes.factor.numerator[chosen] != codes.factor.denominator", "False"),
    (RESIDUE, "put_related", "0 <= number < len(codes.relations)", "True"),
    (RESIDUE, "put_related", "rows.take([i])", "rows.take([0])"),
    (RESIDUE, "put_related", "row, e[i : i + 1]", "row, 0 * e[i : i + 1]"),
    (RELATIONS, "related", "range(1 << len(rows))", "range(1 << len(rows) - 1)"),
    (RELATIONS, "related", "range(1 << len(rows))", "range(0, 1 << len(rows), 2)"),
    (RELATIONS, "related", "if on[-1] else {}", ""),
    (RELATIONS, "related", "== value:", "is not None:"),
    (RELATIONS, "related", "weight if side else -weight", "weight"),
    (RELATIONS, "related", "weights[j] > 0 and", ""),
    (RELATIONS, "related", "on[j] != bool(", "True or bool("),
    (RELATIONS, "related", "on[j] != bool(", "on[j] == bool("),
    (RELATIONS, "related", "known.high[0] == 0 and not strict", "False"),
    (RELATIONS, "related", "known.high[0] > 0", "False"),
    (RELATIONS, "related", "known.open_high[0] or", ""),
    (RELATIONS, "related", "<< len(rows) > MOST_TERMS", "> MOST_TERMS"),
    (RESIDUE, "put_related", "len(which) > MOST_RELATED", "False"),
    (RELATIONS, "place_of", "pattern & ((1 << j) - 1)", "0"),
    (RELATIONS, "checked_row", "relation.multipliers.numerator < 0", "False"),
    (RELATIONS, "checked_row", "k <= MOST_HINGES", "True"),
    (RELATIONS, "checked_row", "np.any(np.diff(hinges) <= 0)", "False"),
    (RELATIONS, "checked_row", "column <= basis.inputs or", ""),
    (RELATIONS, "checked_row", 'basis.block_of(column).kind != "relu"', "False"),
    (RELATIONS, "checked_row", "part[-1] >= basis.width", "False"),
    (RELATIONS, "on_sides", "if weight and on[j]:", "if weight:"),
    (RELATIONS, "on_sides", "range(len(hinges) - 1, -1, -1)", "range(len(hinges))"),
    (RELATIONS, "on_sides", "arguments[j], weight)", "arguments[j], abs(weight))"),
    (RELATIONS, "add", "+ weight * value", "+ value"),
    (UNITS, "rectified", "unit if sign > 0 else unit - scaled", "unit"),
    (UNITS, "put_stable", "known.high[:first] + e[dead], 0", "known.high[:first], 0"),
    (UNITS, "put_stable", "known.high[:first] + e[dead], 0", "known.low[:first] + e[dead], 0"),
    (UNITS, "put_stable", "e[straight] + np.maximum(-known.low[first:second], 0)",
     "np.maximum(-known.low[first:second], 0)"),
    (UNITS, "put_stable", "e[straight] + np.maximum(-known.low[first:second], 0)",
     "e[straight]"),
    (UNITS, "put_stable", "known.open_high[:first].any()", "False"),
    (UNITS, "put_stable", "known.open_low[first:second].any()", "False"),
    (UNITS, "put_new", "columns(at, None, basis.width), e[new]",
     "columns(at, None, basis.width), 0 * e[new]"),
    (UNITS, "stepped", "below.high + e[dead] >= 0", "below.high + e[dead] > 0"),
    (UNITS, "stepped", "below.high + e[dead] >= 0", "below.high >= 0"),
    (UNITS, "stepped", "above.low - e[on] < 0", "above.low < 0"),
    (UNITS, "stepped", "above.open_low.any() or", ""),
    (UNITS, "stepped", "e[which].any() or", ""),
    (UNITS, "stepped", "or e[new].any()", ""),
    (UNITS, "stepped", "if gap.nonzeros", "if False"),
    (UNITS, "opaque", "codes.factor.numerator != codes.factor.denominator", "False"),
    (UNITS, "opaque", "distance(gap, basis, codes.backward) + e[which]", "e[which]"),
    (UNITS, "opaque", "distance(gap, basis, codes.backward) + e[which]",
     "distance(gap, basis, codes.backward)"),
    (UNITS, "reflected", 'raise failed(f"{name} has no rule for a negative argument")',
     "return -unit"),
    (UNITS, "whole_groups", "(int(column) - basis.block_of(int(column)).start) % group", "False"),
    (UNITS, "whole_groups", "np.any(partner != first + steps)", "False"),
    (UNITS, "whole_groups", "as_array(np.repeat(largest, group))", "delta"),
    (UNITS, "lipschitz", "-((-delta * over) // under)", "delta * over // under // 2"),
    (UNITS, "multiplied", 'right=not swapped', 'right=swapped'),
    (UNITS, "multiplied", "product_radius(rho, sigma, s, t, basis)", "0 * s"),
    (UNITS, "scaled_row", "if mine.radius[i]", "if False"),
    (UNITS, "scaled_row", "-((-abs(factor) * theirs.radius[i]) // rows.denominator)", "0"),
    (UNITS, "scaled_row", "-abs(factor)", "-factor"),
    (UNITS, "scaled_row", "len(at) == 1 and at[0] == 0", "len(at) == 1"),
    (UNITS, "product_radius", "first * t + second * s + s * t", "first * t + s * t"),
    (UNITS, "product_radius", "first * t + second * s + s * t", "first * t + second * s"),
    (UNITS, "product_range", "np.minimum(low, end), np.maximum(high, end)", "low, end"),
    (UNITS, "product_range", "left.open_low | left.open_high | right.open_low | right.open_high",
     "left.open_low | left.open_high"),
    (SWEEP, "linear", "if not operand.is_exact", "if False"),
    (SWEEP, "linear", "np.abs(matrix.data)", "matrix.data"),
    (SWEEP, "linear", "radius - (-spread) // matrix.denominator",
     "radius + spread // matrix.denominator"),
    (SWEEP, "linear", "if operator.bias is not None", "if False"),
    (SWEEP, "unrolled", "state = Value(y.rows.take(head), y.radius[head])",
     "state = Value(y.rows.take(head), 0 * y.radius[head])"),
    (SWEEP, "unrolled", "state = Value(y.rows.take(head), y.radius[head])", "pass"),
    (SWEEP, "applied", "value.radius[operator.indices]", "0 * value.radius[operator.indices]"),
    (SWEEP, "replayed", "next(recorded, None) is not None", "False"),
    (CONCLUSION, "conclude", "if rows.nonzeros or radius.any()", "if rows.nonzeros"),
    (CONCLUSION, "conclude", "if rows.nonzeros or radius.any()", "if radius.any()"),
    (CONCLUSION, "conclude", "- allowed).sign() > 0", "- allowed - allowed).sign() > 0"),
    (CONCLUSION, "conclude", "first.radius + second.radius", "second.radius"),
    (CONCLUSION, "conclude", "first.radius + second.radius", "first.radius"),
    (CONCLUSION, "bounded", "if known.open_low.any() or known.open_high.any()",
     "if known.open_low.any()"),
    (CONCLUSION, "conclude", "known.magnitude()[0] + radius", "known.magnitude()[0]"),
    (CONCLUSION, "decision_margin", "known.high + radius[first] + radius[second]",
     "known.high + radius[first]"),
    (CONCLUSION, "decision_margin", "known.high + radius[first] + radius[second]", "known.high"),
    (POINTS, "refuted", "if not contains(domain, point)", "if False"),
    (POINTS, "refuted", "if not violated(point, first, second, relation)", "if False"),
    (POINTS, "violated", "second.low - first.high - eps", "second.high - first.low - eps"),
    (POINTS, "violated", "second.low - first.high - eps).sign() > 0",
     "second.low - first.high - eps).sign() >= 0"),
    (POINTS, "decides", "value.low[c] - value.high - margin", "value.low[c] - value.high"),
    (POINTS, "beaten", ".sign() > 0", ".sign() >= 0"),
    (POINTS, "enumerated", "if np.any(over | (", "if np.all(over & ("),
    (POINTS, "enumerated", "if not surely_agree", "if False and surely_agree"),
    (POINTS, "surely_agree", "np.any(np.delete(behind, c))", "np.all(np.delete(behind, c))"),
    (POINTS, "batches", "range(0, 1 << (n or 0), 512)", "range(0, 512, 512)"),
    (POINTS, "batches", "range(0, len(points), 512)", "range(0, 512, 512)"),
    (POINTS, "batches", "yield from batches(part)",
     "yield from batches(part)\n                break"),
    (CHECK, "concluded", "if not settles", "if False"),
    ("isoform.certificate.reduction", "reduced", "if kind is None", "if True"),
    (CHECK, "checked", "not any(results[used][0] for used in item.uses)", "False"),
    (CHECK, "checked", "check_rounding(certificate.rounds, certificate.target)", "pass"),
    (ROUNDING, "matrix_rounds", "return expected == rounded", "return True"),
    (ROUNDING, "bias_rounds", "not exact(some).any()", "True"),
    (ROUNDING, "check_rounding", "if not operator_rounds(mine.operator, theirs.operator)",
     "if False"),
    (DOMAIN, "hull", "return joined_hull([hull(part) for part in domain.parts])",
     "return hull(domain.parts[0])"),
    (DOMAIN, "contains", "return bool(inside) and contains(domain.box, point)",
     "return bool(inside)"),
    (EVALUATE, "exact_step", "isinstance(value, Exact) or result.low == result.high", "True"),
    (ENCLOSURE, "step_enclosure", "value.low.numerator >= 0", "value.low.numerator > 0"),
    (ENCLOSURE, "linear_enclosure", "negative.times(value.high)", "negative.times(value.low)"),
    (SPARSE, "ExactSparse.of_triplets", "np.add.reduceat(data, first)", "data[first]"),
    (CODES, "difference", "if not data.any()", "if True"),
]
JUDGES = ("isoform.", "test_attack", "attack_", "test_relations", "relation_claims")


def planted(module: str, function: str, old: str, new: str) -> tuple[object, str, Callable]:
    """The function with a line changed: where it lives, its name, and it."""
    home = importlib.import_module(module)
    owner_name, _, name = function.rpartition(".")
    owner = getattr(home, owner_name) if owner_name else home
    source = textwrap.dedent(inspect.getsource(inspect.getattr_static(owner, name).__func__
                             if isinstance(inspect.getattr_static(owner, name), staticmethod)
                             else getattr(owner, name)))
    assert source.count(old) == 1, f"{module}.{function} has {source.count(old)} times {old!r}"
    tree = ast.parse(source.replace(old, new))
    tree.body[0].decorator_list = []  # type: ignore[attr-defined]
    scope = dict(vars(home))
    # Globals stay those of the module; only the name of the function is kept apart.
    exec(compile(tree, f"<mutant of {function}>", "exec"), vars(home), scope)
    return owner, name, scope[name]


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Put a mutant wherever the function was imported."""
    def put(module: str, function: str, old: str, new: str) -> None:
        owner, name, mutant = planted(module, function, old, new)
        true = getattr(owner, name)
        if inspect.isclass(owner):
            static = isinstance(inspect.getattr_static(owner, name), staticmethod)
            monkeypatch.setattr(owner, name, staticmethod(mutant) if static else mutant)
            return
        for loaded in list(sys.modules.values()):
            named = getattr(loaded, "__name__", "")
            if named.startswith(JUDGES) or named == __name__:
                for key, value in list(vars(loaded).items()):
                    if value is true:
                        monkeypatch.setattr(loaded, key, mutant)
                    if isinstance(value, dict) and not key.startswith("__"):  # tables of rules
                        for entry in [k for k, v in value.items() if v is true]:
                            monkeypatch.setitem(value, entry, mutant)
    return put


# --- the battery ---------------------------------------------------------------------------------


def test_false_claims_are_rejected() -> None:
    for number, forged in enumerate([*false_codes(), *false_points()]):
        try:
            accepted = check(forged)
        except CertificateRejected:
            continue
        pytest.fail(f"number {number} was accepted: {accepted.statement}")


def test_true_claims_at_the_edge_are_accepted() -> None:
    """The same shapes, with what is so: the battery must not pass by rejecting everything."""
    relu = Relu()
    for honest in (
        swept(net([[1]], [-1], relu), net([[0]]), UNIT, DEAD),
        swept(net([[1]], [1], relu), net([[1]], [1]), UNIT, LINEAR),
        swept(net([[1]], None, relu), net([[2]], None, relu, after=[[0.5]]), EQUAL, NEW,
              merge(partner=[2], factor=[2])),
        swept(ONE, net([[1]], [3.0]), Claim(Within(Fraction(3)), Box([-1], [1]))),
        pointed(ONE, net([[1]], [1.0]), Claim(Equal(), Box([0], [1])), [1]),
        listed(ONE, net([[1]], None, relu), Claim(Equal(), Binary(1))),
    ):
        check(honest)


def battery() -> None:
    """Fails, one way or another, on a checker with an error."""
    test_false_claims_are_rejected()
    test_true_claims_at_the_edge_are_accepted()
    rules.judge_enclosures(1, 20)
    rules.judge_joins(1, 60)
    rules.judge_ranges(2, 40)
    rules.judge_rules(3, 150)
    relations.judge_edges()
    relations.judge_shapes()
    relations.judge_codes()
    relations.judge_ties()
    relations.judge_sizes()
    relations.judge_nodes()
    relations.test_what_is_accepted_is_so()
    judge.judge_invariants(4, 60, smooth=False)
    judge.judge_forgeries(5, 20, 2)
    rules.judge_ranges(6, 300)
    rules.judge_rules(7, 1500)


def test_the_true_checker_passes_the_battery() -> None:
    battery()


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m[1]}: {m[3]}"[:70])
def test_mutants_are_found_out(mutant: tuple[str, str, str, str], plant: Callable) -> None:
    plant(*mutant)
    with pytest.raises((Exception, pytest.fail.Exception)):
        battery()
