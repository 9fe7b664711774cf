# SPDX-License-Identifier: Apache-2.0
"""Routes over the catalogue, and converters held to their contracts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import pytest

from isoform.converters.catalogue import CATALOGUE
from isoform.converters.converter import Converter, Promise, Refusal, Rewritten, always
from isoform.errors import ContractBroken, DomainError, NoRoute, Refused, TooLarge
from isoform.forms import FORMS, Affine, FeedForward, Layered
from isoform.forms.model import Model
from isoform.network.domain import (
    Binary,
    Box,
    Everywhere,
    FiniteSet,
    Polytope,
    Sequences,
    Union,
    bound_to,
    contains,
)
from isoform.network.linear_map import Dense
from isoform.network.size import AtMost, Estimate, Exactly, Limit, Prediction
from isoform.numerics.exact import Exact
from isoform.plan.class_graph import class_route, distances, explanations, form_names
from isoform.plan.reporter import Reporter
from isoform.plan.route import plan
from isoform.plan.run import run
from isoform.plan.sample import sample
from isoform.plan.steps import Plan


def chain(*weights: list[list[float]]) -> Layered:
    """Affine maps in a row, in float32."""
    from isoform.network.network import Builder

    build = Builder((len(weights[0][0]),))
    value = 0
    for weight in weights:
        value = build.linear(Dense(np.array(weight, dtype=np.float32)), value)
    return Layered(build.build(value))


TWO = chain([[1.0, 2.0], [3.0, 4.0], [0.5, 0.0]], [[1.0, -1.0, 2.0]])


def product(form: Layered) -> Affine:
    """The exact product of the two maps of TWO."""
    first, second = (node.operator.maps[0].weight for node in form.network.nodes)  # type: ignore
    return Affine(Dense(Exact.of(second) @ Exact.of(first)))


def honest(form: Layered, on: Any, options: Any) -> Rewritten:
    return Rewritten(product(form), ("multiplied",))


def exactly(form: Layered, on: Any, options: Any) -> Prediction:
    return Exactly(product(form).size)


HONEST = Converter(
    name="honest", source=Layered, target=Affine, promise=Promise.EVERYWHERE,
    summary="test", reference="test", predict=exactly, requires=always, rewrite=honest,
)


def planned(converter: Converter, **how: Any) -> Plan:
    return plan(Model.of(TWO), to="affine", catalogue=(converter,), **how)


# --- planning ---------------------------------------------------------------------------------


def test_a_plan_predicts_and_a_run_keeps_it() -> None:
    made = run(planned(HONEST))
    assert isinstance(made.form, Affine)
    assert made.plan.size == made.size
    assert made.trace[0].spot.points == 5
    assert made.trace[0].notes == ("multiplied",)
    assert "honest" in str(made.plan) and "honest" in str(made)


@pytest.mark.parametrize("target", FORMS)
def test_a_form_is_already_in_its_own_class(target: type) -> None:
    for form in target.examples():
        name = Model.of(form).form_name
        found = plan(Model.of(form), to=name, options={"activation": "keep"}
                     if name == "feed-forward" else {})
        assert found.steps == ()
        made = run(found)
        assert made.form == form
        assert made.spot.difference == 0


@pytest.mark.parametrize("target", FORMS)
def test_every_route_over_the_real_catalogue_keeps_its_contract(target: type) -> None:
    """Routes or explanations, and nothing else, between all classes."""
    reached = 0
    for form in target.examples():
        for name in form_names():
            try:
                found = plan(Model.of(form), to=name, on=Box(-1, 1))
            except NoRoute as error:
                assert "nearest reachable" in str(error)
                continue
            made = run(found)
            reached += 1
            assert isinstance(made.form, found.goal)
            assert made.spot.difference == 0
    assert reached


def test_feed_forward_means_relu_unless_the_activation_is_kept() -> None:
    leaky = next(f for f in FeedForward.examples() if "leaky" in str(f))
    assert [s.converter.target for s in plan(Model.of(leaky), to="feed-forward").steps] == [
        FeedForward
    ]
    kept = plan(Model.of(leaky), to="feed-forward", options={"activation": "keep"})
    assert kept.steps == ()
    with pytest.raises(Refused, match="choose one of keep, relu"):
        plan(Model.of(leaky), to="feed-forward", options={"activation": "tanh"})


def test_two_affine_maps_enter_the_converters_of_feed_forward_networks() -> None:
    for name in ("merge_units", "canonicalise", "specialise_to_domain"):
        made = run(plan(Model.of(TWO), by=name, on=Box(-1, 1)))
        assert isinstance(made.form, FeedForward) and made.spot.difference == 0


def test_two_steps_are_found_and_the_first_is_rehearsed() -> None:
    """Layered -> affine -> feed-forward, by a second converter that only takes affine maps."""
    def widen(form: Affine, on: Any, options: Any) -> Rewritten:
        n = form.map.inputs
        eye = Dense(Exact.eye(n))
        return Rewritten(FeedForward(((eye, None), (form.map, form.bias)), relu(form)))

    def relu(form: Affine) -> tuple[Any, ...]:
        from isoform.network.operators import Relu

        return (Relu(),)

    def predict(form: Affine, on: Any, options: Any) -> Prediction:
        return Exactly(widen(form, on, options).form.size)

    second = replace(HONEST, name="second", source=Affine, target=FeedForward,
                     promise=Promise.ON_DOMAIN, predict=predict, rewrite=widen)
    bent = replace(HONEST, target=Affine)
    found = plan(Model.of(chain([[1.0], [2.0]], [[1.0, 1.0]])), by="second",
                 catalogue=(bent, second), on=Box(0, 1))
    assert [step.converter.name for step in found.steps] == ["honest", "second"]
    assert all(isinstance(step.prediction, Exactly) for step in found.steps)
    made = run(found)
    assert made.spot.difference == 0  # relu(x) = x on [0, 1]


def test_the_stronger_promise_wins_then_the_smaller_result() -> None:
    weak = replace(HONEST, name="weak", promise=Promise.ON_DOMAIN)
    found = plan(Model.of(TWO), to="affine", catalogue=(weak, HONEST))
    assert [step.converter.name for step in found.steps] == ["honest"]
    assert dict(found.rejected)["weak"].startswith("admissible")


def test_no_route_lists_reasons_and_the_nearest_form() -> None:
    shy = replace(HONEST, name="shy", requires=lambda form, on, options: Refusal(
        "the domain is unbounded", "give a box"))
    with pytest.raises(NoRoute) as caught:
        planned(shy)
    message = str(caught.value)
    assert "shy: the domain is unbounded; give a box" in message
    assert "nearest reachable" in message
    with pytest.raises(NoRoute, match="give a box"):
        plan(Model.of(TWO), by="shy", catalogue=(shy,))


def test_unknown_names_come_with_a_suggestion() -> None:
    with pytest.raises(NoRoute, match="did you mean 'affine'"):
        plan(Model.of(TWO), to="afine")
    with pytest.raises(NoRoute, match="did you mean 'honest'"):
        plan(Model.of(TWO), by="honst", catalogue=(HONEST,))
    with pytest.raises(NoRoute, match="either a form"):
        plan(Model.of(TWO))


def test_the_limit_refuses_before_and_names_step_and_figure() -> None:
    with pytest.raises(TooLarge, match="honest would need 2 parameters where the limit is 1"):
        planned(HONEST, limit=Limit(parameters=1))


def test_an_estimate_refuses_only_when_even_its_low_end_is_too_much() -> None:
    size = replace(product(TWO).size, units=50)
    loose = replace(HONEST, predict=lambda *a: Estimate(size, "a guess", (0, 100)))
    assert planned(loose, limit=Limit(units=10)).steps
    tight = replace(HONEST, predict=lambda *a: Estimate(size, "a guess", (40, 100)))
    with pytest.raises(TooLarge, match="a guess"):
        planned(tight, limit=Limit(units=10))


def test_the_domain_has_to_fit() -> None:
    with pytest.raises(DomainError, match="dimension 3"):
        planned(HONEST, on=Box([0, 0, 0], [1, 1, 1]))


# --- options ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Settings:
    """Options of a converter for these tests."""

    eps: Fraction = Fraction(1, 100)
    terms: int = 3
    mode: Literal["fast", "small"] = "fast"
    verbose: bool = False
    bound: int | None = None


def test_options_are_parsed_by_their_types() -> None:
    given = {"eps": "0.1", "terms": "1e2", "mode": "small", "verbose": "yes", "bound": "none"}
    step, = planned(replace(HONEST, options=Settings), options=given).steps
    assert step.options == Settings(Fraction(1, 10), 100, "small", True, None)


@pytest.mark.parametrize("given, words", [
    ({"terms": "many"}, "no int"), ({"mode": "slow"}, "choose one of fast, small"),
    ({"colour": "red"}, "unknown option 'colour'.*its options: bound, eps"),
    ({"terms": "1.5"}, "no int"), ({"verbose": "maybe"}, "no bool"), ({"eps": "1/0"}, "no Fract"),
])
def test_bad_options_are_refused(given: dict[str, str], words: str) -> None:
    with pytest.raises(Refused, match=words):
        planned(replace(HONEST, options=Settings), options=given)


def test_within_reaches_converters_that_have_an_eps_and_no_others() -> None:
    step, = planned(replace(HONEST, options=Settings), within=Fraction(1, 7)).steps
    assert step.options.eps == Fraction(1, 7)
    assert planned(HONEST, within=Fraction(1, 7)).steps


# --- contracts: every liar is named ---------------------------------------------------------------


def wrong_class(form: Layered, on: Any, options: Any) -> Rewritten:
    return Rewritten(form)


def wrong_function(form: Layered, on: Any, options: Any) -> Rewritten:
    good = product(form)
    return Rewritten(Affine(good.map, Exact.of(np.array([1]))))


def crash(form: Layered, on: Any, options: Any) -> Rewritten:
    raise ZeroDivisionError("oh")


def too_small(form: Layered, on: Any, options: Any) -> Prediction:
    return AtMost(replace(product(form).size, parameters=1))


def not_exact(form: Layered, on: Any, options: Any) -> Prediction:
    return Exactly(replace(product(form).size, parameters=10))


@pytest.mark.parametrize("change, words", [
    ({"rewrite": wrong_class}, "made a Layered where it promises a Affine"),
    ({"rewrite": wrong_function, "predict": lambda *a: AtMost(
        replace(product(TWO).size, parameters=9, nonzeros=9, bytes=99, flops=99))},
     "promises equal everywhere, and a random point of the domain differs by 1"),
    ({"rewrite": crash}, "ZeroDivisionError: oh"),
    ({"predict": crash}, "ZeroDivisionError: oh"),
    ({"rewrite": lambda form, *_: product(form)}, "gave a Affine where a Rewritten belongs"),
    ({"predict": too_small}, "predicted at most 1 parameters, made 2"),
    ({"predict": not_exact}, "predicted exactly 10 parameters, made 2"),
])
def test_a_broken_contract_names_the_converter(change: dict[str, Any], words: str) -> None:
    liar = replace(HONEST, name="liar", **change)
    with pytest.raises(ContractBroken, match=words) as caught:
        run(planned(liar))
    assert caught.value.culprit == "liar"


def test_an_eps_that_is_broken_at_a_random_point_is_a_broken_contract() -> None:
    liar = replace(
        HONEST, name="liar", promise=Promise.WITHIN, options=Settings, rewrite=wrong_function,
        predict=lambda *a: Estimate(product(TWO).size, "none", (0, 0)),
    )
    with pytest.raises(ContractBroken, match="promises eps = 1/100"):
        run(planned(liar))
    assert run(planned(liar, within=Fraction(2))).spot.difference == 1


def test_the_limit_is_checked_again_on_the_result() -> None:
    unaware = replace(HONEST, predict=lambda *a: Estimate(
        replace(product(TWO).size, parameters=0), "none", (0, 0)))
    with pytest.raises(TooLarge, match="result of honest"):
        run(planned(unaware, limit=Limit(parameters=1)))


def test_requirements_are_checked_again_when_running() -> None:
    answers = iter([None, Refusal("changed its mind")])
    moody = replace(HONEST, requires=lambda *a: next(answers))
    with pytest.raises(Refused, match="honest: changed its mind"):
        run(planned(moody))


def test_the_reporter_hears_of_every_step() -> None:
    heard: list[str] = []

    class Listener(Reporter):
        def planned(self, converters: tuple[str, ...]) -> None:
            heard.append(f"planned {converters}")

        def step_started(self, converter: str) -> None:
            heard.append(f"started {converter}")

        def step_finished(self, converter: str, size: Any, seconds: float) -> None:
            heard.append(f"finished {converter} {size.parameters}")

    run(planned(HONEST, reporter=Listener()), reporter=Listener())
    assert heard == ["planned ('honest',)", "started honest", "finished honest 2"]


# --- samples and the class graph -----------------------------------------------------------------


@pytest.mark.parametrize("domain", [
    Box(-1, 1), Binary(), Everywhere(), FiniteSet(Exact.of(np.arange(6).reshape(3, 2))),
    Union((Box(0, 1), Box(5, 6))), Sequences(2, Box(0, 1)),
    Polytope(Exact.of(np.array([[1, 1]])), Exact.of(np.array([0])), Box([-1, -1], [1, 1])),
])
def test_samples_lie_in_the_domain(domain: Any) -> None:
    bound = bound_to(domain, 2)
    points = sample(bound, 20, seed=3)
    assert points.shape == (2, 20)
    assert all(contains(bound, points[:, i]) for i in range(20))


def test_a_thin_polytope_gives_fewer_points_not_wrong_ones() -> None:
    thin = Polytope(Exact.of(np.array([[1, 1], [-1, -1]])),
                    Exact.of(np.array([Fraction(1, 7), Fraction(-1, 7)], dtype=object)),
                    Box([-1, -1], [1, 1]))
    assert sample(thin, 3).shape == (2, 0)


def test_class_routes_follow_the_catalogue() -> None:
    for name in form_names():
        for goal, steps in ((g, distances(g)) for g in form_names()):
            route = class_route(name, goal)
            assert (route is None) == (name not in steps)
            if route:
                assert len(route) == steps[name]


def test_explanations_have_references_and_no_converter_contradicts_them() -> None:
    for item in explanations():
        assert item.reference
        if item.kind == "N":
            assert not any(
                (c.source.__name__.lower(), c.target.__name__.lower()) == (item.source, item.target)
                for c in CATALOGUE
            )
