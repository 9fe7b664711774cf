# SPDX-License-Identifier: Apache-2.0
"""Finding the cheapest admissible sequence of converters, before the result is computed.

Routes with fewer converters come first; among equally long ones the weaker promise loses, then the
larger prediction. A converter's size formula needs its actual source, so a converter that is not
the last is rehearsed (run without checks) where its own prediction is small; where it is not, the
later sizes are known only while running, and the limit is checked there again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from isoform.converters.catalogue import CATALOGUE
from isoform.converters.converter import Converter
from isoform.errors import ContractBroken, IsoformError, NoRoute, NotInClass, Refused, TooLarge
from isoform.forms import FORMS, form_name
from isoform.forms.feed_forward import FeedForward, activation_name
from isoform.forms.model import Model, lift_into
from isoform.network.domain import Domain, Everywhere, bound_to
from isoform.network.operators import Relu
from isoform.network.size import Estimate, Limit, Prediction
from isoform.plan.class_graph import (
    GENERAL,
    class_route,
    converter_named,
    distances,
    ends,
    explanations,
    form_class,
    is_rewriting,
)
from isoform.plan.options import check_known, options_for
from isoform.plan.reporter import SILENT, Reporter
from isoform.plan.steps import PROMISES, Plan, Step, worst
from isoform.text import count

MOST_STEPS = 3
REHEARSED = 2_000_000  # parameters up to which an intermediate form is computed while planning
EVERYWHERE = Everywhere()
DEFAULT_LIMIT = Limit()


@dataclass(slots=True)
class Search:
    """One search: what is asked, and what was rejected on the way (filled while searching)."""

    model: Model
    domain: Domain
    limit: Limit
    options: Mapping[str, Any]
    catalogue: Sequence[Converter]
    keep: bool = False
    rejected: dict[str, str] = field(default_factory=dict)
    outside: dict[str, str] = field(default_factory=dict)
    too_large: list[str] = field(default_factory=list)
    reached: dict[str, int] = field(default_factory=dict)
    admitted: set[str] = field(default_factory=set)

    def reject(self, what: str, why: str) -> None:
        """Note the first reason, unless the converter was admissible somewhere on the way."""
        if what not in self.admitted:
            self.rejected.setdefault(what, why)

    def step(self, converter: Converter, form: Any) -> Step | None:
        """The step if it is admissible on this form; else None, the reason noted."""
        options = options_for(converter, self.options)
        try:
            refusal = converter.requires(form, self.domain, options)
            if refusal is not None:
                self.reject(converter.name, str(refusal))
                return None
            prediction = converter.predict(form, self.domain, options)
        except (IsoformError, OSError, MemoryError):
            raise
        except Exception as error:
            raise ContractBroken(converter.name, f"{type(error).__name__}: {error}") from error
        broken = beyond(self.limit, prediction)
        if broken is not None:
            self.reject(converter.name, f"it would need {broken}")
            self.too_large.append(f"{converter.name} would need {broken}")
            return None
        self.admitted.add(converter.name)
        return Step(converter, options, prediction)


def beyond(limit: Limit, prediction: Prediction) -> str | None:
    """The figure beyond the limit, in words; None if all fit. An estimate of units refuses only
    where even the lower end of its interval is beyond."""
    size = prediction.size
    if isinstance(prediction, Estimate):
        size = replace(size, units=prediction.interval[0])
    broken = limit.broken_by(size)
    if broken is None or not isinstance(prediction, Estimate):
        return broken
    return f"about {broken} ({prediction.method})"


def plan(
    model: Model, *, to: str | None = None, by: str | None = None, on: Domain = EVERYWHERE,
    limit: Limit = DEFAULT_LIMIT, options: Mapping[str, Any] | None = None,
    within: Fraction | None = None,
    catalogue: Sequence[Converter] = CATALOGUE, reporter: Reporter = SILENT,
) -> Plan:
    """The cheapest admissible route to a form (`to`) or through one converter (`by`).

    within: the eps for converters that have one.
    Raises NoRoute with the nearest reachable form and what would open the way, TooLarge where only
    the limit stands in it, DomainError where the domain does not fit the model, Refused on a bad
    option.
    """
    if (to is None) == (by is None):
        raise NoRoute("say where to go: either a form (to) or a converter (by)")
    name = to or by or ""
    reporter.planning(name)
    domain = bound_to(on, model.network.dimension)
    keep, given = activation_option(options or {}, to)
    eps = {} if within is None else {"eps": within}
    search = Search(model, domain, limit, eps | given, catalogue, keep)
    if by is not None:
        converter = converter_named(by, catalogue)
        goal, steps = converter.target, route_through(search, converter)
    else:
        goal = form_class(name)
        steps = route_to(search, goal)
    check_known(given, [step.converter for step in steps])
    found = Plan(model=model, name=name, goal=goal, domain=domain, limit=limit, steps=steps,
                 rejected=alternatives(search, goal, steps))
    reporter.planned(tuple(step.converter.name for step in steps))
    return found


def alternatives(
    search: Search, goal: type, steps: tuple[Step, ...]
) -> tuple[tuple[str, str], ...]:
    """What else leads to the goal, and why it was not taken."""
    chosen = {step.converter.name for step in steps}
    others = {c.name for c in search.catalogue if c.target is goal} - chosen | {"as it is"}
    return tuple((what, why) for what, why in search.rejected.items() if what in others)


def activation_option(given: Mapping[str, Any], to: str | None) -> tuple[bool, dict[str, Any]]:
    """Whether a feed-forward result may keep an activation other than ReLU; the other options."""
    rest = dict(given)
    if to != form_name(FeedForward) or "activation" not in rest:
        return False, rest
    wish = rest.pop("activation")
    if wish not in ("keep", "relu"):
        raise Refused(f"--option activation={wish}: choose one of keep, relu")
    return wish == "keep", rest


def arrived(search: Search, model: Model, goal: type) -> bool:
    """Whether a model is what was asked for. Feed-forward means ReLU unless another activation may
    be kept."""
    form = entered(model, goal)
    if not isinstance(form, FeedForward) or search.keep:
        return form is not None
    other = [a for a in form.activations if not isinstance(a, Relu)]
    if other:
        search.reject("as it is", f"its activation is {activation_name(other[0])}, not ReLU; keep "
                                  "it with --option activation=keep")
    return not other


def entered(model: Model, target: type) -> Any | None:
    """The model's form in a class, None where it is not in it."""
    try:
        return model.as_form(target)
    except NotInClass:
        return None


def route_through(search: Search, converter: Converter) -> tuple[Step, ...]:
    """The steps that end with one given converter."""
    form = entered(search.model, converter.source)
    if form is not None:
        step = search.step(converter, form)
        if step is None:
            raise dead_end(search, converter.name)
        return (step,)
    before = route_to(search, converter.source)
    result = rehearsed(search, before)
    form = None if result is None else entered(Model.of(result), converter.source)
    if form is None:
        return (*before, Step(converter, options_for(converter, search.options), None))
    step = search.step(converter, form)
    if step is None:
        raise dead_end(search, converter.name)
    return (*before, step)


def route_to(search: Search, goal: type) -> tuple[Step, ...]:
    """The best of the shortest admissible routes; empty where the model is in the class."""
    if arrived(search, search.model, goal):
        return ()
    left = distances(form_name(goal), search.catalogue)
    states: list[tuple[tuple[Step, ...], Any]] = [((), None)]
    for taken in range(MOST_STEPS):
        found: list[tuple[Step, ...]] = []
        following: list[tuple[tuple[Step, ...], Any]] = []
        for steps, form in states:
            model = search.model if form is None else Model.of(form)
            for step in admissible_steps(search, model, left, MOST_STEPS - taken):
                route = (*steps, step)
                search.reached[ends(step.converter)[1]] = len(route)
                if step.converter.target is goal:
                    found.append(route)
                elif (result := rehearsed(search, route[-1:], model)) is not None:
                    lifts = arrived(search, Model.of(result), goal)
                    (found.append(route) if lifts else following.append((route, result)))
                elif left.get(ends(step.converter)[1]) == 1:
                    found.append(unseen(search, route, goal))
        if found:
            return choose(search, found)
        states = following
    raise dead_end(search, form_name(goal))


def admissible_steps(
    search: Search, model: Model, left: Mapping[str, int], steps: int
) -> Iterator[Step]:
    """Every admissible converter out of a form that the goal can still be reached after."""
    for converter in search.catalogue:
        if is_rewriting(converter) or left.get(ends(converter)[1], MOST_STEPS) >= steps:
            continue
        try:
            form = model.as_form(converter.source)
        except NotInClass as obstacle:
            if converter.name not in search.admitted:
                search.outside.setdefault(converter.name, str(obstacle))
            continue
        step = search.step(converter, form)
        if step is not None:
            yield step


def unseen(search: Search, route: tuple[Step, ...], goal: type) -> tuple[Step, ...]:
    """A route with one last converter whose size is known only while running."""
    source = ends(route[-1].converter)[1]
    onward = class_route(source, form_name(goal), search.catalogue) or ()
    return (*route, *(Step(c, options_for(c, search.options), None) for c in onward))


def rehearsed(
    search: Search, steps: tuple[Step, ...], model: Model | None = None
) -> Any | None:
    """The form after some steps, computed without checks; None where it is too large for that or a
    step fails (the run itself will say how)."""
    start = model or search.model
    form: Any = None
    for step in steps:
        if step.prediction is None or step.prediction.size.parameters > REHEARSED:
            return None
        try:
            source = start.as_form(step.converter.source)
            form = step.converter.rewrite(source, search.domain, step.options).form
        except IsoformError as error:
            search.reject(step.converter.name, str(error))
            return None
        start = Model.of(form)
    return form


def choose(search: Search, routes: list[tuple[Step, ...]]) -> tuple[Step, ...]:
    """The cheapest of equally long routes; the others are noted as alternatives."""

    def cost(route: tuple[Step, ...]) -> tuple[int, float, int]:
        promise = worst(step.converter.promise for step in route)
        last = route[-1].prediction
        nonzeros = float("inf") if last is None else last.size.nonzeros
        return PROMISES.index(promise), nonzeros, len(route)

    best, *others = sorted(routes, key=cost)
    chosen = {step.converter.name for step in best}
    for route in others:
        for step in route:
            if step.converter.name not in chosen and step.prediction is not None:
                size = step.prediction.size
                promise = step.converter.promise.value
                search.rejected[step.converter.name] = (
                    f"admissible, but {promise} at {count(size.nonzeros)} nonzeros is no cheaper"
                )
    return best


def dead_end(search: Search, goal: str) -> IsoformError:
    """The error for a goal that was not reached: TooLarge if the limit was all that stood in the
    way, NoRoute with the nearest reachable form and every reason otherwise."""
    if search.too_large:
        listed = "; ".join(search.too_large)
        return TooLarge(
            f"no route to {goal} fits the limit: {listed}. Raise it with --limit, or give a "
            "smaller domain (--on) where the converter uses it"
        )
    here = search.model.form_name
    start = "this network" if here in (None, goal) else here
    lines = [f"no route from {start} to {goal}"]
    why = search.model.why_not.get(goal) or own_obstacle(search.model, goal)
    if why:
        lines.append(f"it is not {goal} already: {why}")
    reasons = search.outside | search.rejected
    lines += [f"{name}: {reason}" for name, reason in reasons.items()]
    lines += [f"{item.text} ({item.reference}); {item.remedy}" for item in
              explanations(here or GENERAL, goal)]
    lines.append(nearest(search, goal))
    return NoRoute("\n  - ".join(lines))


def own_obstacle(model: Model, goal: str) -> str | None:
    """Why the model itself is not in the class of that name; None for a converter's name."""
    for target in FORMS:
        if form_name(target) == goal:
            try:
                lift_into(model.network, target)
            except NotInClass as obstacle:
                return str(obstacle)
    return None


def nearest(search: Search, goal: str) -> str:
    """A sentence on the nearest form that can be reached."""
    reachable = [name for name in search.reached if name != goal]
    lifted = [form_name(target) for target in FORMS if entered(search.model, target) is not None]
    names = [name for name in dict.fromkeys(reachable + lifted) if name != goal]
    if not names:
        return "no other form can be reached either; `isoform inspect` lists the obstacles"
    return f"nearest reachable: {', '.join(names)}"
