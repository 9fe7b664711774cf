# SPDX-License-Identifier: Apache-2.0
"""Running a plan and holding every converter to its contract.

Enforced, for all converters alike: the source class; `requires`; the limit, against the prediction
and again against the result; the target class; the actual size within the prediction; the promise,
spot-checked in exact arithmetic at random points of the domain. A breach is `ContractBroken` and
names the converter.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from isoform.converters.converter import Converter, Promise, Rewritten
from isoform.errors import ContractBroken, IsoformError, NotInClass, Refused, TooLarge
from isoform.forms import form_name
from isoform.forms.model import Model
from isoform.network.domain import Domain
from isoform.network.evaluate import evaluate_exact
from isoform.network.network import Network
from isoform.network.size import AtMost, Exactly, Limit, Prediction, Size, measure
from isoform.numerics.enclosure import Enclosure
from isoform.numerics.exact import Exact
from isoform.plan.reporter import SILENT, Reporter
from isoform.plan.route import beyond
from isoform.plan.sample import sample
from isoform.plan.steps import Plan, Step, figures
from isoform.text import columns, count, decimal, html_table

SPOT_POINTS = 5
SPOT_COST = 60_000_000  # floating-point operations of exact evaluation that a spot check may cost


@dataclass(frozen=True, slots=True)
class Spot:
    """A spot check: exact evaluation of source and result at `points` points; difference: the
    largest found (a lower value where an opaque function only gives enclosures)."""

    points: int
    difference: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """One step as it went. notes: the converter's facts for the report; details: what it decided
    one by one."""

    step: Step
    predicted: Prediction
    size: Size
    seconds: float
    spot: Spot
    notes: tuple[str, ...] = ()
    details: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """For a certificate: converter, promise and size in one line."""
        converter = self.step.converter
        return (f"{converter.name}: {converter.promise.value}; {count(self.size.units)} units, "
                f"{count(self.size.parameters)} parameters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What a plan made. network: primitive and exact (nothing is rounded yet); form: of the goal's
    class; trace: one entry a converter; spot: the whole way from the model to the result."""

    plan: Plan
    network: Network
    form: Any
    trace: tuple[Done, ...]
    spot: Spot
    seconds: float

    @property
    def model(self) -> Model:
        return self.plan.model

    @property
    def size(self) -> Size:
        return self.trace[-1].size if self.trace else measure(self.network)

    def rows(self) -> list[tuple[str, ...]]:
        """Before, each step, with actual sizes and seconds."""
        rows = [("read", self.model.form_name or "network", *figures(self.model.size, ""), "")]
        for done in self.trace:
            converter = done.step.converter
            rows.append((converter.name, form_name(converter.target), *figures(done.size, ""),
                         f"{done.seconds:.2f}"))
        return rows

    def __repr__(self) -> str:
        steps = ", ".join(done.step.converter.name for done in self.trace) or "recognised as it is"
        return f"Conversion({self.form!r}; {steps}; {self.seconds:.2f} s)"

    def __str__(self) -> str:
        return columns(self.rows(), HEADER)

    def _repr_html_(self) -> str:
        return html_table(self.rows(), HEADER)


HEADER = ("step", "result", "depth", "width", "units", "parameters", "nonzeros", "seconds")


def run(plan: Plan, *, reporter: Reporter = SILENT, seed: int = 0) -> Conversion:
    """Run every step of a plan under its contract.

    Raises Refused where a converter declines on the way, TooLarge where a result or a late
    prediction is beyond the limit, ContractBroken where a converter breaks its promise.
    """
    start = time.perf_counter()
    model, trace = plan.model, []
    for step in plan.steps:
        reporter.step_started(step.converter.name)
        form, done = run_step(step, model, plan, seed)
        reporter.step_finished(step.converter.name, done.size, done.seconds)
        trace.append(done)
        model = Model.of(form)
    form = result_form(model, plan)
    network = form.lower()
    spot = trace[0].spot if len(trace) == 1 else spot_check(
        plan.model.network, network, plan.domain, seed
    )
    hold(plan, spot)
    return Conversion(plan=plan, network=network, form=form, trace=tuple(trace), spot=spot,
                      seconds=time.perf_counter() - start)


def result_form(model: Model, plan: Plan) -> Any:
    """The last result in the class that the plan promises."""
    try:
        return model.as_form(plan.goal)
    except NotInClass as obstacle:
        last = plan.steps[-1].converter.name if plan.steps else "lift"
        raise ContractBroken(
            last, f"its result is not in {form_name(plan.goal)}: {obstacle}"
        ) from None


def run_step(step: Step, model: Model, plan: Plan, seed: int) -> tuple[Any, Done]:
    """One converter, from the form it takes to a checked result."""
    converter = step.converter
    form = model.as_form(converter.source)
    refusal = converter.requires(form, plan.domain, step.options)
    if refusal is not None:
        raise Refused(f"{converter.name}: {refusal}")
    predicted = step.prediction or converter.predict(form, plan.domain, step.options)
    within_limit(plan.limit, predicted, converter)
    start = time.perf_counter()
    rewritten = rewrite(converter, form, plan.domain, step.options)
    seconds = time.perf_counter() - start
    if not isinstance(rewritten, Rewritten):
        raise ContractBroken(
            converter.name, f"it gave a {type(rewritten).__name__} where a Rewritten belongs"
        )
    if not isinstance(rewritten.form, converter.target):
        raise ContractBroken(
            converter.name, f"it made a {type(rewritten.form).__name__} where it promises a "
            f"{converter.target.__name__}",
        )
    result: Any = rewritten.form
    network = result.lower()
    size = measure(network)
    keeps_prediction(converter, predicted, size)
    broken = plan.limit.broken_by(size)
    if broken is not None:
        raise TooLarge(f"the result of {converter.name} has {broken}; raise it with --limit")
    spot = spot_check(model.network, network, plan.domain, seed)
    keeps_promise(converter, spot, step.options)
    return result, Done(step=step, predicted=predicted, size=size, seconds=seconds, spot=spot,
                        notes=rewritten.notes, details=rewritten.details)


def rewrite(converter: Converter, form: Any, domain: Domain, options: Any) -> Any:
    """The rewriting; an unexpected exception is the converter's breach, not the user's."""
    try:
        return converter.rewrite(form, domain, options)
    except (IsoformError, OSError, MemoryError):
        raise
    except Exception as error:
        raise ContractBroken(
            converter.name, f"{type(error).__name__}: {error}"
        ) from error


def within_limit(limit: Limit, predicted: Prediction, converter: Converter) -> None:
    """TooLarge where a prediction does not fit."""
    broken = beyond(limit, predicted)
    if broken is not None:
        raise TooLarge(f"{converter.name} would need {broken}; raise it with --limit, or give a "
                       "smaller domain (--on) where the converter uses it")


def keeps_prediction(converter: Converter, predicted: Prediction, size: Size) -> None:
    """ContractBroken where the actual size is not what was predicted as exact or as a bound."""
    for name, actual in size.as_dict().items():
        said = getattr(predicted.size, name)
        match predicted:
            case Exactly() if actual != said:
                raise ContractBroken(
                    converter.name, f"it predicted exactly {said:,} {name}, made {actual:,}"
                )
            case AtMost() if actual > said:
                raise ContractBroken(
                    converter.name, f"it predicted at most {said:,} {name}, made {actual:,}"
                )


def spot_check(source: Network, target: Network, domain: Domain, seed: int) -> Spot:
    """Source and target at a few random rational points, exactly. Fewer points for large networks;
    none where even one is beyond the cost allowed (the number is part of the result)."""
    flops = max(measure(source).flops, measure(target).flops, 1)
    points = sample(domain, min(SPOT_POINTS, SPOT_COST // flops), seed)
    if points.shape[1] == 0:
        return Spot(0, Fraction(0))
    before, after = evaluate_exact(source, points), evaluate_exact(target, points)
    return Spot(points.shape[1], largest_gap(before, after))


def largest_gap(left: Exact | Enclosure, right: Exact | Enclosure) -> Fraction:
    """The largest absolute difference; a lower value of it for enclosures."""
    if isinstance(left, Exact) and isinstance(right, Exact):
        return (left - right).max_abs()
    one, two = Enclosure.of(left), Enclosure.of(right)
    gaps = [(one.low - two.high).relu(), (two.low - one.high).relu()]
    return max(gap.max_abs() for gap in gaps)


def keeps_promise(converter: Converter, spot: Spot, options: Any) -> None:
    """ContractBroken where a spot check contradicts the promise."""
    if converter.promise is Promise.WITHIN:
        eps = getattr(options, "eps", None)
        if eps is not None and spot.difference > Fraction(eps):
            raise ContractBroken(
                converter.name, f"it promises eps = {eps}, and a random point of the domain "
                f"differs by {decimal(spot.difference)}",
            )
    elif spot.difference:
        raise ContractBroken(
            converter.name, f"it promises {converter.promise.value}, and a random point of the "
            f"domain differs by {decimal(spot.difference)}",
        )


def hold(plan: Plan, spot: Spot) -> None:
    """ContractBroken where the whole route is exact and the ends differ at a random point."""
    if plan.promise is not Promise.WITHIN and spot.difference:
        names = ", ".join(step.converter.name for step in plan.steps) or "lift"
        raise ContractBroken(
            names, f"the result differs from the source by {decimal(spot.difference)} at a random "
            "point of the domain",
        )
