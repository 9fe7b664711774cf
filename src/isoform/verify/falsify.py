# SPDX-License-Identifier: Apache-2.0
"""The attack: search for a point where a claim fails, replayed in exact arithmetic.

Floats only choose points. What is reported was rounded to an exact point of the domain and
evaluated exactly (opaque functions: in outward enclosures, of which the lower end counts), so a
witness is final and `lower` is a true lower value of the largest difference.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from isoform.bounds.matrices import flat_primitive
from isoform.certificate.verdict import LowerAt, Witness
from isoform.errors import Refused
from isoform.network.claim import Relation
from isoform.network.domain import Binary, Domain, FiniteSet, bound_to
from isoform.network.network import Network
from isoform.network.size import measure
from isoform.numerics.exact import Exact
from isoform.verify.goal import Decision, Difference, Goal, Meeting, goal_of
from isoform.verify.gradient import FloatNetwork
from isoform.verify.polish import polish
from isoform.verify.replay import Replay, replay
from isoform.verify.sample import Place, pull, sample, snap, widths
from isoform.verify.shrink import shrink

STEPS = (0.5, 0.25, 0.25, 0.1, 0.1, 0.05, 0.05, 0.02, 0.01, 0.004, 0.001)
FINE_BITS = 40  # of a point that stands for floats
GLANCED = 64  # samples of a glance
SHORT_BITS = 10
POOL = 16  # best float points kept from round to round
STALLED = 6  # rounds without progress after which the search may end early
PATIENCE = 0.2  # share of the time that is searched in any case


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """What an attack found.

    lower: the largest difference (decision: source margin at a point decided otherwise; forbidden
    sets: depth in one) replayed exactly, 0 where none was seen; witness: a point where the claim
    fails, or None; output: where the best point has its finding (None where no point was replayed);
    tries: points replayed exactly; point: the best one; lower_at: where `lower` was found;
    exhausted: all points of a finite domain were replayed; interrupted: it ended by Ctrl-C.
    """

    lower: Fraction
    witness: Witness | None
    output: int | None
    tries: int
    point: Exact | None = None
    exhausted: bool = False
    interrupted: bool = False
    lower_at: LowerAt | None = None
    seconds: float = 0.0


@dataclass(slots=True)
class Search:
    """The state of one attack: what is attacked, the best exact finding, the pool of floats."""

    source: Network
    target: Network
    nets: tuple[FloatNetwork, FloatNetwork]
    place: Place
    goal: Goal
    rng: np.random.Generator
    deadline: float
    best: Replay | None = None
    lower: Fraction = Fraction(0)
    lower_at: LowerAt | None = None
    tries: int = 0
    pool: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))


def falsify(
    source: Network,
    target: Network,
    domain: Domain,
    eps: Fraction | tuple[Fraction, ...] | None,
    *,
    seconds: float = 5,
    seed: int = 0,
    points: Sequence[Exact] = (),
) -> Attack:
    """Attack |g_i(x) - f_i(x)| <= eps for all outputs i and x of the domain.

    source f, target g: networks R^n -> R^m; eps None or 0: any difference refutes; a tuple has one
    eps an output. points: exact points (n,) of the domain to try first. The same seed and enough
    time give the same answer. The search ends at the first refutation, after `seconds`, or when it
    makes no progress.
    Raises Refused where inputs or outputs do not match, DomainError on a wrong dimension.
    """
    return attack(source, target, domain, Difference(eps or Fraction(0)), seconds, seed, points)


def falsify_decision(
    source: Network,
    target: Network,
    domain: Domain,
    margin: Fraction = Fraction(0),
    *,
    seconds: float = 5,
    seed: int = 0,
    points: Sequence[Exact] = (),
) -> Attack:
    """Attack: wherever f prefers output c by at least `margin` to all others, no output of g is
    larger than g_c. `lower` is the largest margin of f at a replayed point where g decides
    otherwise. Parameters and errors as in `falsify`; ValueError for a negative margin.
    """
    if margin < 0:
        raise ValueError(f"a margin of {margin} is negative")
    return attack(source, target, domain, Decision(margin), seconds, seed, points)


def falsify_relation(
    source: Network,
    target: Network,
    domain: Domain,
    relation: Relation,
    *,
    seconds: float = 5,
    seed: int = 0,
    points: Sequence[Exact] = (),
) -> Attack:
    """Attack any relation that points can refute: equality, an eps, a decision, forbidden sets (a
    property of one network has the same source and target). Parameters and errors as in `falsify`;
    Refused for a relation that no point refutes.
    """
    return attack(source, target, domain, goal_of(relation), seconds, seed, points)


def differ(source: Network, target: Network, domain: Domain, seed: int = 0) -> bool:
    """Whether the networks differ at one point of the domain, which a few samples suggest, in exact
    arithmetic: then no sweep proves them equal there. Errors as in `falsify`."""
    search = prepared(source, target, domain, Difference(Fraction(0)), 0, seed)
    x = sample(search.place, search.rng, GLANCED)
    if not len(x):
        return False
    best = x[np.nan_to_num(scores(search, x), nan=-np.inf).argmax()]
    point = snap(search.place, best, SHORT_BITS)
    return point is not None and record(search, [point])


def check_shapes(source: Network, target: Network, goal: Goal) -> None:
    """Refused where inputs, or outputs that are compared, differ in number."""
    sizes = [("inputs", source.dimension, target.dimension)]
    if isinstance(goal, Meeting):
        width = source.dimension + source.output_dimension + target.output_dimension
        if goal.rows.shape[1] != width:
            raise Refused(
                f"forbidden sets over {goal.rows.shape[1]} numbers; inputs and outputs of the "
                f"networks are {width}"
            )
    else:
        sizes.append(("outputs", source.output_dimension, target.output_dimension))
    for what, f, g in sizes:
        if f != g:
            raise Refused(f"the networks have {f} and {g} {what}; only equal shapes are compared")


def attack(
    source: Network, target: Network, domain: Domain, goal: Goal,
    seconds: float, seed: int, points: Sequence[Exact],
) -> Attack:
    start = time.monotonic()
    search = prepared(source, target, domain, goal, seconds, seed)
    exhausted = interrupted = False
    try:
        exhausted = explore(search, [point.reshape(-1) for point in points])
    except KeyboardInterrupt:
        interrupted = True
    best = search.best
    witness = None
    if best is not None and best.finding.refutes:
        best = shrink(
            best, search.source, search.target, search.place, goal, limit=max(1.0, seconds / 4)
        )
        witness = Witness(
            point=best.point, source=best.source, target=best.target,
            output=best.finding.output, difference=best.finding.difference,
        )
    top = search.best
    return Attack(
        lower=search.lower, witness=witness,
        output=None if top is None else top.finding.output, tries=search.tries,
        point=None if top is None else top.point, exhausted=exhausted,
        interrupted=interrupted, lower_at=search.lower_at,
        seconds=time.monotonic() - start,
    )


def prepared(
    source: Network, target: Network, domain: Domain, goal: Goal, seconds: float, seed: int
) -> Search:
    """A search that has looked nowhere yet, and ends in so many seconds."""
    start = time.monotonic()
    check_shapes(source, target, goal)
    same = target is source
    source = flat_primitive(source)
    target = source if same else flat_primitive(target)
    return Search(
        source=source, target=target, place=Place.of(bound_to(domain, source.dimension)),
        goal=goal, nets=(FloatNetwork.of(source), FloatNetwork.of(target)),
        rng=np.random.default_rng(seed), deadline=start + seconds,
        pool=np.zeros((0, source.dimension)),
    )


def explore(search: Search, points: list[Exact]) -> bool:
    """Fill `search.best`; whether every point of the domain was replayed."""
    if isinstance(search.place.domain, FiniteSet):
        return exhaust(search, search.place.domain.points)
    if isinstance(search.place.domain, Binary) and len(search.place.low) <= 10:
        n = len(search.place.low)
        bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        return exhaust(search, Exact.of(bits))
    if points and record(search, points):
        return False
    count = batch_size(search)
    given = np.array([point.to_float() for point in points])
    search.pool = given.reshape(-1, len(search.place.low))
    if examine(search, sample(search.place, search.rng, count)):
        return False
    begin, quiet, top = time.monotonic(), 0, -np.inf
    while time.monotonic() < search.deadline:
        reached = ascend(search, starts(search, count))
        if examine(search, reached):
            return False
        score = float(scores(search, search.pool).max(initial=-np.inf))
        quiet = 0 if score > top + 1e-3 * abs(top) else quiet + 1
        top = max(top, score)
        if quiet >= STALLED and time.monotonic() - begin > PATIENCE * (search.deadline - begin):
            break
    return False


def exhaust(search: Search, points: Exact) -> bool:
    """Replay every row of a finite domain, until a refutation or the end of the time."""
    for first in range(0, len(points), 64):
        if first and time.monotonic() > search.deadline:
            return False
        rows = points[first : first + 64]
        if record(search, [rows[i] for i in range(len(rows))]):
            return first + 64 >= len(points)
    return True


def batch_size(search: Search) -> int:
    """Points a float pass, so that one takes a few hundredths of a second."""
    weights = sum(measure(net).flops for net in (search.source, search.target))
    return int(np.clip(4e8 / max(1, weights), 16, 512))


def starts(search: Search, count: int) -> np.ndarray:
    """Half fresh samples, half neighbours of the best points so far."""
    fresh = sample(search.place, search.rng, count)
    if not len(search.pool):
        return fresh
    near = search.pool[search.rng.integers(len(search.pool), size=count // 2)]
    spread = widths(search.place, near) * 10.0 ** search.rng.uniform(-4, -0.5, (len(near), 1))
    near = pull(search.place, near + spread * search.rng.standard_normal(near.shape))
    return np.concatenate([fresh[: count - len(near)], near])


def scores(search: Search, x: np.ndarray) -> np.ndarray:
    f = search.nets[0].output(x)
    g = f if search.target is search.source else search.nets[1].output(x)
    return search.goal.score(x, f, g)


def ascend(search: Search, x: np.ndarray) -> np.ndarray:
    """Signed-gradient ascent from each row of x (batch, n); the best point on each way."""
    best, best_score = x, np.full(len(x), -np.inf)
    for step in (*STEPS, 0.0):
        values = [net.values(x) for net in search.nets]
        f, g = (v[net.network.outputs[0]] for v, net in zip(values, search.nets, strict=True))
        score = search.goal.score(x, f, g)
        better = score > best_score
        best = np.where(better[:, None], x, best)
        best_score = np.where(better, score, best_score)
        if step == 0.0 or time.monotonic() > search.deadline:
            break
        direct, *back = search.goal.cotangents(x, f, g)
        by_source, by_target = (
            net.pullback(v, c) for net, v, c in zip(search.nets, values, back, strict=True)
        )
        slope = by_source + by_target if direct is None else direct + by_source + by_target
        x = pull(search.place, x + moves(search, x, slope, step))
    return best


def moves(search: Search, x: np.ndarray, slope: np.ndarray, step: float) -> np.ndarray:
    """A step along the sign of the slope; bits flip at random instead of moving a little."""
    if isinstance(search.place.domain, Binary):
        return np.sign(slope) * (search.rng.random(x.shape) < step)
    return step * widths(search.place, x) * np.sign(slope)


def examine(search: Search, x: np.ndarray) -> bool:
    """Take the float points x (batch, n): renew the pool, replay the best and some others.
    Whether the claim is refuted."""
    if not len(x):
        return False
    joined = np.concatenate([search.pool, x])
    score = scores(search, joined)
    search.pool = joined[np.argsort(-score, kind="stable")[:POOL]]
    chosen = [*search.pool[:4], *x[search.rng.permutation(len(x))[:4]]]
    polished = polish(*search.nets, search.place, search.pool[0], search.goal)
    if polished is not None:
        chosen.append(polished)
        search.pool = np.concatenate([search.pool, pull(search.place, polished[None])])
    exact = [snap(search.place, row, FINE_BITS, sharp=True) for row in chosen]
    exact += [snap(search.place, row, SHORT_BITS) for row in chosen]
    return record(search, [point for point in exact if point is not None])


def record(search: Search, points: list[Exact]) -> bool:
    """Replay exact points of the domain and keep the best. Whether the claim is refuted."""
    for found in replay(search.source, search.target, search.place.domain, points, search.goal):
        search.tries += 1
        if found.finding.largest > search.lower:
            search.lower = found.finding.largest
            search.lower_at = LowerAt(point=found.point, output=found.finding.widest)
        if search.best is None or found.finding.order > search.best.finding.order:
            search.best = found
    return search.best is not None and search.best.finding.refutes
