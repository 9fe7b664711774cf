# SPDX-License-Identifier: Apache-2.0
"""Errors planted in the checker of trees, one at a time: each must be found out.

The battery is random boxes against exact values, fixed point against Python's integers, and
certificates of claims that are false by a little; the true checker passes it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

import test_differential as bounds_judged
import test_fixed as numbers_judged
import test_swept_layers as layers_judged
import test_tree_attack as attacks
import test_tree_certificate as trees_judged
import test_tree_pieces as pieces_judged
from test_checker_mutants import planted

FIXED, RELAXATION, DIFFERENTIAL, CLOSING, TREE, LAYERS, SWEEP, CHECK, PIECES = (
    f"isoform.certificate.{name}" for name in
    ("fixed", "relaxation", "differential", "closing", "tree", "swept_layers", "sweep",
     "tree_check", "tree_pieces")
)
FACES = "isoform.certificate.faces"
PAIRED, CLAIM = "isoform.network.paired", "isoform.network.claim"

# module, function, line part, what stands there instead
MUTANTS = [
    (FIXED, "Fixed.rounded", "-((-over) // value.denominator) if up",
     "over // value.denominator if up"),
    (FIXED, "Fixed.kept", "value.min() < -self.infinity", "False"),
    (FIXED, "Fixed.kept", "value.max() > self.infinity", "False"),
    (FIXED, "Fixed.bounded", "bounds.max() >= self.infinity", "bounds.max() > self.infinity"),
    (FIXED, "Fixed.bounded", "bounds.min() <= -self.infinity", "False"),
    (FIXED, "Fixed.total", ">> 62", ">> 99"),
    (FIXED, "Fixed.weights", "rounded = not (dyadic and shift == power)", "rounded = False"),
    (FIXED, "Fixed.weights", "whole = (doubled + 1) >> 1", "whole = doubled >> 1"),
    (FIXED, "Fixed.weights", "EXACT - PART - (n - 1).bit_length()", "EXACT - PART"),
    (FIXED, "Fixed.weights", "if size > MOST_SIZE", "if False"),
    (FIXED, "Fixed.product", "terms += 1", "terms = 1"),
    (FIXED, "Fixed.product", "off += (sizes >> (right.shift + 1)) + 1", "pass"),
    (FIXED, "Fixed.product", "off += (sizes >> (right.shift + 1)) + 1",
     "off += sizes >> (right.shift + 2)"),
    (FIXED, "Fixed.product", "i * right.width + j * PART - right.shift",
     "i * right.width - right.shift"),
    (FIXED, "Fixed.product", "left = self.kept(left)", "pass"),
    (FIXED, "Fixed.shifted", ">> max(0, 56 - by)", ">> 99"),
    (FIXED, "Fixed.times", "((low * slope) >> SLOPE)", "-((-low * slope) >> SLOPE)"),
    (FIXED, "Fixed.times", "((low * slope) >> SLOPE)", "0 * low"),
    (FIXED, "Fixed.dot", "(last >> bits) + 3", "(last >> bits)"),
    (FIXED, "Fixed.dot", 'np.einsum("rn,rn->r", low, top)', "0"),
    (FIXED, "Fixed.dot", "self.kept(total + self.dot", "(0 * total + self.dot"),
    (FIXED, "Fixed.slack", "((off * low) >> self.bits) + 2", "((off * low) >> self.bits)"),
    (FIXED, "Fixed.slack", "((off * low) >> self.bits) + 2", "2"),
    (FIXED, "Fixed.steep", "-self.times(-value, slope)", "self.times(value, slope)"),
    (FIXED, "Fixed.slope", "np.clip(np.round(ratio * (1 << SLOPE)), 0, 1 << SLOPE)",
     "np.round(ratio * (1 << SLOPE))"),
    (RELAXATION, "rectified",
     "np.maximum(ops.steep(slope, -low), ops.steep(ops.one() - slope, high))",
     "ops.steep(ops.one() - slope, high)"),
    (RELAXATION, "rectified",
     "np.maximum(ops.steep(slope, -low), ops.steep(ops.one() - slope, high))",
     "ops.steep(slope, -low)"),
    (RELAXATION, "rectified", "np.where(is_open, above, 0)", "np.where(live, above, 0)"),
    (RELAXATION, "rectified", "(low < 0) & (high > 0)", "(low < 0) & (high > 0) & (high > -low)"),
    (RELAXATION, "rectified_difference", "-np.maximum(bounds.y[1], 0)",
     "-np.maximum(bounds.y[0], 0)"),
    (RELAXATION, "rectified_difference", "np.maximum(bounds.z[1], 0)",
     "np.maximum(bounds.z[0], 0)"),
    (RELAXATION, "rectified_difference",
     "np.maximum(ops.steep(rising, -q), ops.steep(ops.one() - rising, top))",
     "ops.steep(ops.one() - rising, top)"),
    (RELAXATION, "rectified_difference",
     "-np.maximum(ops.steep(falling, p), ops.steep(ops.one() - falling, -bottom))",
     "np.maximum(ops.steep(falling, p), ops.steep(ops.one() - falling, -bottom))"),
    (RELAXATION, "relaxed", "exact = (below >= 0) &", "exact = (below < 1 << 60) &"),
    (RELAXATION, "relaxed", "ops.total(rho)", "0 * ops.total(rho)"),
    (RELAXATION, "relaxed", "ops.total(np.maximum(above, 0))", "ops.total(np.maximum(below, 0))"),
    (DIFFERENTIAL, "Differential.carried", "p[:, 0] + ops.least() * (2 + d)", "p[:, 0] - 8"),
    (DIFFERENTIAL, "Differential.spread", "found[:, 0] + off * (1 + self.d)",
     "found[:, 0] - 4 * off"),
    (DIFFERENTIAL, "Differential.spread", "ops.slack(off, layers[i].h_size[b])",
     "-4 * ops.slack(off, layers[i].h_size[b])"),
    (DIFFERENTIAL, "Differential.spread", "ops.slack(off, layers[i].rho_size[b])",
     "-4 * ops.slack(off, layers[i].rho_size[b])"),
    (DIFFERENTIAL, "Differential.spread", "self.back_both[j]", "self.back_both[j][:1]"),
    (FACES, "at_ends", "ops.dot(positive, ends[1])", "ops.dot(positive, ends[0])"),
    (FACES, "at_ends", "(inputs - positive, ends[0])", "(inputs - positive, ends[1])"),
    (DIFFERENTIAL, "Differential.settle", "sign > 0, np.maximum", "sign < 0, np.maximum"),
    (DIFFERENTIAL, "Differential.settle", "here[..., 0] > here[..., 1]",
     "here[..., 0] >= here[..., 1]"),
    (DIFFERENTIAL, "Differential.tighten", "(here[b, i, value, 0], -upper)",
     "(here[b, i, value, 0], upper)"),
    (DIFFERENTIAL, "Differential.tighten", "self.ops.bounded(here)", "pass"),
    (DIFFERENTIAL, "Differential.tighten", "y[..., 0] + delta[..., 0]",
     "y[..., 0] + delta[..., 1]"),
    (DIFFERENTIAL, "Differential.tighten", "z[..., 0] - delta[..., 1]",
     "z[..., 0] - delta[..., 0]"),
    (DIFFERENTIAL, "Differential.tighten", "z[..., 1] - y[..., 0]", "z[..., 1] - y[..., 1]"),
    (DIFFERENTIAL, "Differential.row", "else self.gap_rows", "else self.target_rows"),
    (DIFFERENTIAL, "Differential.line", "lines.high[b], lines.low[b])",
     "lines.high[b], lines.high[b])"),
    (DIFFERENTIAL, "Differential.line", "coefficient > 0", "coefficient < 0"),
    (DIFFERENTIAL, "Differential.line", "lines.high_slope[b], below)", "below, below)"),
    (DIFFERENTIAL, "Differential.through", "return alpha + zeta, omega + zeta",
     "return alpha, omega + zeta"),
    (DIFFERENTIAL, "Differential.through", "return alpha + zeta, omega + zeta",
     "return alpha + zeta, omega"),
    (CLOSING, "Forms.closed", "self.strict[form] & (upper == 0)", "(upper == 0)"),
    (CLOSING, "Forms.closed", "upper < 0", "upper < 1 << 20"),
    (CLOSING, "forms_of", "-part.rows", "part.rows"),
    (CLOSING, "forms_of", "*row[at].fractions(), loose", "loose"),
    (CLOSING, "forms_of", "(at.tobytes(), *row", "(*row"),
    (CLOSING, "forms_of", "members[-1].append(found[key])",
     "[each.append(found[key]) for each in members]"),
    (CLOSING, "over_slots", "(own + first + second)", "(own + first)"),
    (CLOSING, "over_slots", "(own + first + second)", "(first + second)"),
    (TREE, "places_of", "domain.parts for place", "domain.parts[:1] for place"),
    (TREE, "parts_of", "(box.high - box.low) * HALF", "(box.high - box.low) * HALF * HALF"),
    (TREE, "parts_of", "(box.low + box.high) * HALF", "box.low"),
    (CHECK, "closed_by_trees", "if wanted:", "if False:"),
    (CHECK, "check_trees", "allowed + max(pair)", "allowed + min(pair)"),
    (TREE, "walk", "if left[leaf].any():", "if False:"),
    (TREE, "whole", "open_sets[0, tree.sets] = True", "open_sets[0, tree.sets[:1]] = True"),
    (TREE, "walk", "np.concatenate((left[inner], left[inner]))",
     "np.concatenate((left[inner], left[inner] & False))"),
    (TREE, "walk", "later.append((int(at[i]), (boxes.take(np.array([i])), left[[i]])))", "pass"),
    (TREE, "walk", "boxes.take(np.array([i])), left[[i]]",
     "boxes.take(np.array([i])), left[[i]] & False"),
    (CHECK, "closed_by_trees", "!= asked", "!= [piece for piece, _ in found]"),
    (CHECK, "closed_by_trees", "next(given, None) is not None", "False"),
    (CHECK, "closed_by_trees", "np.maximum.at(worst, data.trees[number].sets, value)", "pass"),
    (CHECK, "closed_by_trees", "np.maximum.at(worst, tree.sets, value)", "pass"),
    (TREE, "split", "low[count + halved, i] = middle", "low[count + halved, i] = middle + 1"),
    (TREE, "split", "value] = 1", "value] = -1"),
    (TREE, "split", "value] = -1", "value] = 1"),
    (PIECES, "shape_of", "or 2 * len(inner) + 1 != count", ""),
    (PIECES, "shape_of", "(place[inner] < 0) |", ""),
    (TREE, "parts_of", "swept_layers(source, target, domain, codes)",
     "swept_layers(source, source, domain, codes)"),
    (TREE, "parts_of", "swept_layers(source, target, domain, codes)",
     "swept_layers(source, target, boxes_of(domain)[0], codes)"),
    (LAYERS, "swept_layers", "layers_of(first, basis), layers_of(second, basis)",
     "layers_of(first, basis), layers_of(first, basis)"),
    (LAYERS, "layers_of", "if not value.is_exact:", "if False:"),
    (LAYERS, "layers_of", 'basis.arguments(here, "relu")',
     'basis.arguments(units[: len(here)], "relu")'),
    (LAYERS, "layers_of", "place[units] = np.arange(1 + d, 1 + d + len(units))",
     "place[units] = np.arange(1 + d, 1 + d + len(units))[::-1]"),
    (LAYERS, "depths", 'block.kind != "relu"', "False"),
    (LAYERS, "depths", "used[block.arguments.take(wanted).columns] = True", "pass"),
    (LAYERS, "depths", "1 + depth[block.arguments.row(i)[0]].max(initial=0)", "1"),
    (LAYERS, "moved", "columns = place[rows.columns]", "columns = rows.columns"),
    (LAYERS, "moved", "columns, rows.data,", "columns, abs(rows.data),"),
    (LAYERS, "moved", "rows.data, rows.denominator", "rows.data, 2 * rows.denominator"),
    (SWEEP, "replayed", "next(recorded, None) is not None", "False"),
    (PAIRED, "moved", "1 / factor[unit] if", "factor[unit] if"),
    (PAIRED, "moved", "return found.scaled_rows(Exact.of(np.array(inverse, dtype=object)))",
     "return found or found.scaled_rows(Exact.of(np.array(inverse, dtype=object)))"),
    (PAIRED, "replaced", "columns > d + before", "columns > d + before + 99"),
    (PAIRED, "replaced", "rows.scaled_columns(Exact.of(scale))", "rows"),
    (PAIRED, "check_factors", "value <= 0 or", ""),
    (PAIRED, "check_factors", 'or curves[unit] != "relu"', ""),
    (PAIRED, "paired", "not np.array_equal(np.sort(held), np.arange(layers.units))",
     "set(held.tolist()) != set(range(layers.units))"),
    (CLAIM, "forbidden_sets", "for sign in (1, -1)", "for sign in (1, 1)"),
    (CLAIM, "forbidden_sets", "unit[c] - unit[j]", "unit[j] - unit[c]"),
    (CLAIM, "forbidden_sets", "[-relation.margin] * (m - 1)", "[relation.margin] * (m - 1)"),
    (CLAIM, "forbidden_sets", "-eps[i : i + 1], (True,)", "-2 * eps[i : i + 1], (True,)"),
]
JUDGES = ("test_", "tree_claims", "differential_pairs", "isoform.")


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a mutant wherever the function was imported."""
    def put(module: str, function: str, old: str, new: str) -> None:
        owner, name, mutant = planted(module, function, old, new)
        true = getattr(owner, name)
        if inspect.isclass(owner):
            monkeypatch.setattr(owner, name, mutant)
            return
        for loaded in list(sys.modules.values()):
            if getattr(loaded, "__name__", "").startswith(JUDGES):
                for key, value in list(vars(loaded).items()):
                    if value is true:
                        monkeypatch.setattr(loaded, key, mutant)
    return put


def judge_numbers() -> None:
    judges = [judge for name, judge in vars(numbers_judged).items()
              if name.startswith("test_") and not getattr(judge, "pytestmark", None)]
    for judge in sorted(judges, key=lambda one: hasattr(one, "hypothesis")):
        judge()
    for count in (513, 5000):
        numbers_judged.test_long_dots_do_not_overflow(count)
    for size in (20, 44):
        numbers_judged.test_wide_products_do_not_overflow(4096, size)


def judge_bounds() -> None:
    bounds_judged.test_halves_cover_the_box()
    bounds_judged.test_nothing_is_bounded_beyond_the_largest_number()
    bounds_judged.test_a_bound_that_only_begins_to_be_too_large_is_refused()
    bounds_judged.judge(range(1000, 1020), bounds_judged.fixed, Fraction(0))
    bounds_judged.test_slots_give_the_same_functions()
    bounds_judged.judge(range(1020, 1060), bounds_judged.fixed, Fraction(0))
    bounds_judged.judge(range(3000, 3080), bounds_judged.fixed, Fraction(0), depth=2)


def judge_trees(folder: Path) -> None:
    trees_judged.test_trees_that_are_none()
    trees_judged.test_places_that_are_not_there_though_nothing_is_needed_of_them()
    trees_judged.test_a_child_that_is_dropped()
    trees_judged.test_sets_and_parts_all_need_a_tree()
    trees_judged.test_slots_that_are_none()
    trees_judged.test_units_stay_behind_what_they_read()
    trees_judged.test_factors_that_change_the_function()
    trees_judged.test_zero_closes_strict_rows_only()
    trees_judged.test_source_and_target_swapped()
    trees_judged.test_strict_and_closed_rows_at_the_edge()
    trees_judged.test_the_upper_value_is_one()
    attacks.test_bounds_beyond_the_largest_number_are_no_contradiction()
    attacks.test_two_outputs_decide_by_the_margin()
    for which in range(5):
        trees_judged.test_true_claims_are_accepted(which, folder)
    pieces_judged.test_tiny_trees_in_pieces()
    for seed in range(6):
        pieces_judged.test_changed_trees_are_judged_alike(seed)
    attacks.campaign(0, 30, 4)


def judge_layers() -> None:
    layers_judged.judge_trees()
    layers_judged.test_radii_other_units_and_codes_too_many_leave_none()
    layers_judged.test_layers_compute_what_the_network_does_whatever_the_codes()
    layers_judged.test_two_layers_stay_two()


def battery(folder: Path, module: str = FIXED) -> None:
    """Fails, one way or another, on a checker with an error; what is about it comes first."""
    def trees() -> None:
        judge_trees(folder)

    judges = [judge_numbers, judge_bounds, judge_layers, trees]
    if module in (LAYERS, SWEEP, TREE):
        judges = [judge_layers, trees, judge_bounds, judge_numbers]
    elif module in (RELAXATION, DIFFERENTIAL, FACES):
        judges = [judge_bounds, trees, judge_numbers]
    elif module != FIXED:
        judges = [trees, judge_bounds, judge_numbers]
    for judge in judges:
        judge()


@pytest.mark.slow
def test_the_true_checker_passes_the_battery(tmp_path: Path) -> None:
    battery(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m[1]}: {m[3]}"[:70])
def test_mutants_are_found_out(
    mutant: tuple[str, str, str, str], plant: Callable[..., None], tmp_path: Path
) -> None:
    plant(*mutant)
    with pytest.raises((Exception, pytest.fail.Exception)):
        battery(tmp_path, mutant[0])


def test_every_mutant_can_be_planted() -> None:
    for mutant in MUTANTS:
        planted(*mutant)


@pytest.mark.parametrize("mutant", [MUTANTS[5], MUTANTS[27], MUTANTS[68]], ids=lambda m: m[1])
def test_some_mutants_are_found_out(
    mutant: tuple[str, str, str, str], plant: Callable[..., None], tmp_path: Path
) -> None:
    plant(*mutant)
    with pytest.raises((Exception, pytest.fail.Exception)):
        battery(tmp_path, mutant[0])
