# SPDX-License-Identifier: Apache-2.0
"""After a refutation: where two networks part, and on which part of the domain.

What is said of rows is exact; what is said of values is measured at sample points and the witness.
Neither is a proof, and the verdict does not rest on it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from isoform.certificate.reduction import reduced
from isoform.errors import CertificateRejected
from isoform.network.claim import Avoids, Claim, Comparison, SameDecision, Within, tolerances
from isoform.network.domain import Box, bound_to, hull
from isoform.network.evaluate import evaluate
from isoform.network.network import Network
from isoform.network.parting import Change, Differing, LayerMatch, Parting
from isoform.network.primitive import to_primitive
from isoform.network.size import measure
from isoform.numerics.exact import Exact
from isoform.verify.hidden_units import hidden_units
from isoform.verify.sample import Place, pull, sample, widths
from isoform.verify.unit_partners import Alignment, align

SAMPLES = 64  # points at which units are compared
MEASURED = 4096  # points of the domain at which outputs are compared, fewer in large networks
MOST_FLOPS = 1e9
BLOCK = 128  # points that are evaluated together
INSIDE = 64  # points that decide whether a box holds differences only
MOST_SIDES = 64  # inputs up to which the box around the witness grows side by side
MOST_CHANGES = 20
HALVINGS = 40
NOISE = 1e-9  # relative differences of outputs below it are taken for the rounding of doubles


def explain(
    source: Network, target: Network, claim: Claim, witness: Exact | None = None, *, seed: int = 0
) -> Parting:
    """Where the networks part, layer by layer and unit by unit, and where the claim fails.

    witness: a point (n,) of the domain at which they differ. Units of all of space are aligned
    first; where most find no partner, those that are left on the domain's box, without stable ones.
    Deeper, wider or merged networks align as far as their rows are the same; otherwise `aligned` is
    False and `why` says so. Raises DomainError for a domain of another dimension.
    """
    first, second = to_primitive(source), to_primitive(target)
    claim = replace(claim, domain=bound_to(claim.domain, first.dimension))
    place = Place.of(claim.domain)
    points = sample(place, np.random.default_rng(seed), SAMPLES)
    if witness is not None:
        points = np.concatenate([points, witness.to_float()[None]])
    found, why = aligned(first, second, hull(claim.domain), points)
    differing = measured(first, second, claim, place, witness, seed)
    if found is None or found.share < 0.5:
        share = 0.0 if found is None else found.share
        return Parting(
            aligned=False, why=why or f"only {share:.0%} of the units have partners", layers=(),
            first=None, changes=(), changed=0, alone=0, differing=differing, point=witness,
        )
    changes = [with_values(found, change, witness) for change in found.changes[:MOST_CHANGES]]
    used = len(found.partner) - 1 - found.source.inputs
    return Parting(
        aligned=True, why="", layers=tuple(layer_matches(found)),
        first=changes[0] if changes else None, changes=tuple(changes),
        changed=len(found.changes), alone=found.source.count - used, differing=differing,
        point=witness,
    )


def with_values(found: Alignment, change: Change, witness: Exact | None) -> Change:
    """The change with both pre-activations at the witness, exactly, the target's in the source's
    units; as it is where there is no witness, no partner, or a function without exact values."""
    if witness is None or change.source is None:
        return change
    pair = []
    for units, unit in ((found.source, change.source), (found.target, change.target)):
        rows, i = units.row_of(unit)
        values = units.exactly(witness, rows.shape[1])
        if values is None:
            return change
        pair.append(rows.take([i]).times(values).item())
    factor = Fraction(1)
    if change.target.layer is not None:
        factor = found.partner[found.target.column(change.target)][1]
    return replace(change, values=(pair[0], pair[1] / factor))


def aligned(
    first: Network, second: Network, box: Box | None, points: np.ndarray
) -> tuple[Alignment | None, str]:
    """The alignment in which most units have partners, and why there is none."""
    if first.output_dimension != second.output_dimension:
        return None, "the networks have different numbers of outputs"
    best: Alignment | None = None
    for place in (None, box):
        try:
            units = hidden_units(first, place), hidden_units(second, place)
        except CertificateRejected as error:
            return best, "" if best is not None else f"rows of units cannot be written: {error.why}"
        found = align(*units, (units[0].before(points), units[1].before(points)))
        if best is None or found.share > best.share:
            best = found
        if best.share >= 0.5 or box is None:
            break
    return best, ""


def layer_matches(found: Alignment) -> list[LayerMatch]:
    """One record a target layer."""
    listed = []
    mine, theirs = found.before[1], found.before[0]
    for layer in found.target.layers:
        paired = [column for column in layer.columns if column in found.partner]
        gaps = []
        for column in paired:
            partner, factor = found.partner[column]
            with np.errstate(all="ignore"):
                gap = np.abs(mine[:, column] / float(factor) - theirs[:, partner]).max()
                size = np.abs(theirs[:, partner]).max()
            gaps.append(float(np.nan_to_num(gap / size if size > 0 else gap, nan=np.inf)))
        at = int(np.argmax(gaps)) if gaps else None
        changed = sum(column in found.changed for column in paired)
        listed.append(LayerMatch(
            target=layer.number, source=found.beside[layer.number] if paired else None,
            equal=len(paired) - changed, changed=changed,
            alone=len(layer.columns) - len(paired),
            difference=0.0 if at is None else gaps[at],
            unit=None if at is None else int(layer.units[paired[at] - layer.start]),
        ))
    return listed


# --- where the claim fails ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Failing:
    """Whether a claim fails at float points (batch, n), in doubles."""

    source: Network
    target: Network
    relation: Comparison

    def outputs(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        blocks = [x[at : at + BLOCK] for at in range(0, len(x), BLOCK)]
        f = np.concatenate([evaluate(self.source, block) for block in blocks])
        return f, np.concatenate([evaluate(self.target, block) for block in blocks])

    def at(self, f: np.ndarray, g: np.ndarray) -> np.ndarray:
        if isinstance(self.relation, SameDecision):
            rows = np.arange(len(f))
            c = f.argmax(axis=1)
            others = f.copy()
            others[rows, c] = -np.inf
            sure = f[rows, c] - others.max(axis=1) >= float(self.relation.margin)
            failed: np.ndarray = sure & (g.max(axis=1) > g[rows, c])
            return failed
        assert not isinstance(self.relation, Avoids)
        eps = tolerances(self.relation, f.shape[1]).to_float()
        noise = NOISE * np.maximum(np.abs(f), np.abs(g))
        with np.errstate(invalid="ignore"):
            return np.any(np.abs(g - f) > np.maximum(eps, noise), axis=1)

    def everywhere(self, x: np.ndarray) -> bool:
        return bool(np.all(self.at(*self.outputs(x))))


def measured(
    first: Network, second: Network, claim: Claim, place: Place, witness: Exact | None, seed: int
) -> Differing | None:
    """Where the claim fails among sample points, and a box around the witness in which it does."""
    relation = claim.relation
    same = first.output_dimension == second.output_dimension
    if not same or not isinstance(relation, Within | SameDecision) and str(relation) != "equal":
        return None
    assert not hasattr(relation, "count") and not isinstance(relation, Avoids)
    if isinstance(relation, SameDecision):
        found = reduced(first, second, claim)
        first, second = found.source, found.target
    failing = Failing(first, second, relation)
    rng = np.random.default_rng(seed + 1)
    flops = max(1, measure(first).flops + measure(second).flops)
    x = sample(place, rng, int(np.clip(MOST_FLOPS / flops, INSIDE, MEASURED)))
    if isinstance(place.domain, Box):  # a share means something among uniform points
        x = place.low + rng.random(x.shape) * (place.high - place.low)
    f, g = failing.outputs(x)
    share = float(failing.at(f, g).mean())
    if witness is not None:
        f_there, g_there = failing.outputs(witness.to_float()[None])
        f, g = np.concatenate([f, f_there]), np.concatenate([g, g_there])
    largest = tuple(np.nan_to_num(np.abs(g - f)).max(axis=0).tolist())
    if witness is None:
        return Differing(points=len(x), share=share, largest=largest)
    low, high = grown(failing, place, witness.to_float(), rng)
    return Differing(
        points=len(x), share=share, largest=largest, inside=INSIDE,
        low=tuple(low.tolist()), high=tuple(high.tolist()),
    )


def grown(
    failing: Failing, place: Place, centre: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A box around a point at whose random points the claim fails: the largest of about `HALVINGS`
    sizes in the proportions of the domain, then each side as long as it may double."""
    full = widths(place, centre[None])[0]
    ends = (np.where(np.isfinite(place.low), place.low, -np.inf),
            np.where(np.isfinite(place.high), place.high, np.inf))

    def fails(low: np.ndarray, high: np.ndarray) -> bool:
        share = rng.random((INSIDE, len(low)))
        share[: INSIDE // 2] = np.round(share[: INSIDE // 2])  # corners too
        return failing.everywhere(pull(place, low + share * (high - low)))

    size, low, high = 1.0, centre, centre
    for _ in range(HALVINGS):
        tried = np.maximum(centre - size * full, ends[0]), np.minimum(centre + size * full, ends[1])
        if fails(*tried):
            low, high = tried
            break
        size /= 2
    if len(centre) > MOST_SIDES or size == 1.0:
        return low, high
    for axis in range(len(centre)):
        for side in (0, 1):
            step = size * full[axis]
            while step < full[axis]:
                tried = low.copy(), high.copy()
                tried[side][axis] += -step if side == 0 else step
                tried[side][axis] = np.clip(tried[side][axis], ends[0][axis], ends[1][axis])
                if tried[side][axis] == (low, high)[side][axis] or not fails(*tried):
                    break
                low, high = tried
                step *= 2
    return low, high

