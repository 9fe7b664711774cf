# SPDX-License-Identifier: Apache-2.0
"""Laws of every form: lifting is the inverse of lowering, arrays lose nothing."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from isoform.algebra.affine_rows import identity_map
from isoform.errors import FormatError, NotInClass
from isoform.forms import FORMS, form_name
from isoform.forms.affine import Affine
from isoform.forms.convolutional import Convolutional
from isoform.forms.feed_forward import FeedForward
from isoform.forms.form import Form
from isoform.forms.layered import Layered, bottleneck, residual
from isoform.network.evaluate import evaluate_exact
from isoform.network.linear_map import Dense, Gather
from isoform.network.network import Builder
from isoform.network.operators import LeakyRelu, Relu, Select
from isoform.numerics.enclosure import Enclosure
from isoform.numerics.exact import Exact

CASES = [pytest.param(cls, form, id=f"{form_name(cls)}-{i}")
         for cls in FORMS for i, form in enumerate(cls.examples())]


def points(n: int, count: int = 5) -> Exact:
    """Random rationals in [-2, 2], one point a column."""
    random = np.random.default_rng(n)
    return Exact(random.integers(-42, 43, (n, count)).astype(object), 21)


def same_values(a: Any, b: Any) -> bool:
    if isinstance(a, Enclosure) or isinstance(b, Enclosure):
        a, b = Enclosure.of(a), Enclosure.of(b)
        return a.low == b.low and a.high == b.high
    return a == b


@pytest.mark.parametrize(("cls", "form"), CASES)
def test_lift_is_the_inverse_of_lower(cls: type, form: Any) -> None:
    network = form.lower()
    lifted = cls.lift(network)  # type: ignore[attr-defined]
    assert lifted == form
    x = points(network.dimension)
    assert same_values(evaluate_exact(lifted.lower(), x), evaluate_exact(network, x))


@pytest.mark.parametrize(("cls", "form"), CASES)
def test_arrays_lose_nothing(cls: type, form: Any) -> None:
    arrays = form.arrays()
    back = cls.from_arrays(arrays)  # type: ignore[attr-defined]
    assert back == form and back.lower().digest == form.lower().digest
    assert all(isinstance(v, np.ndarray | Exact) for v in arrays.values())
    assert all(not (isinstance(v, np.ndarray) and v.dtype == object) for v in arrays.values())


@pytest.mark.parametrize(("cls", "form"), CASES)
def test_missing_arrays_are_format_errors(cls: type, form: Any) -> None:
    arrays = form.arrays()
    for name in arrays:
        with pytest.raises(FormatError):
            cls.from_arrays({k: v for k, v in arrays.items() if k != name})  # type: ignore


@pytest.mark.parametrize(("cls", "form"), CASES)
def test_forms_show_themselves(cls: type, form: Any) -> None:
    assert isinstance(form, Form)
    assert str(form).startswith(cls.__name__)
    assert form.size.parameters >= 0 and hash(form) == hash(cls.lift(form.lower()))  # type: ignore


def test_names() -> None:
    assert [form_name(cls) for cls in FORMS][:2] == ["affine", "convolutional"]
    assert form_name(FeedForward) == "feed-forward"
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", form_name(cls)) for cls in FORMS)


def chain(*steps: Any) -> Any:
    """A network of operators in a row on R^2."""
    build = Builder((2,))
    value = 0
    for step in steps:
        if isinstance(step, tuple):
            value = build.linear(step[0], value, step[1])
        else:
            size = len(step.indices) if isinstance(step, Select) else build.size_of(value)
            value = build.add(step, (value,), size)
    return build.build(value)


W = Dense(np.array([[1.0, 2.0], [3.0, -1.0], [0.5, 0.0]], dtype=np.float32))
B = np.array([1.0, 0.0, -1.0], dtype=np.float32)
OUT = Dense(np.array([[1.0, -1.0, 2.0]], dtype=np.float32))


def test_a_product_and_a_sum_are_one_affine_map() -> None:
    network = chain((W, None), (identity_map(3), B), Relu(), (OUT, None))
    form = FeedForward.lift(network)
    assert form == FeedForward(((W, B), (OUT, None)), (Relu(),))
    assert str(form) == "FeedForward 2-3-1, relu"


def test_a_zero_bias_before_the_first_map_is_nothing() -> None:
    zeros = np.zeros(2, dtype=np.float32)
    network = chain((identity_map(2), zeros), (W, B), LeakyRelu(0.5), (OUT, None))
    assert FeedForward.lift(network).layers[0][0] is W


def test_a_subtraction_before_the_first_map_is_no_chain() -> None:
    shift = np.array([0.5, 0.0], dtype=np.float32)
    with pytest.raises(NotInClass, match="--by collapse_linear"):
        FeedForward.lift(chain((identity_map(2), shift), (W, B), Relu(), (OUT, None)))


def test_selections_are_absorbed() -> None:
    swap = Select(np.array([1, 0]))
    network = chain(swap, (W, B), Select(np.array([2, 0, 1])), Relu(), (OUT, None))
    form = FeedForward.lift(network)
    x = points(2)
    assert len(form.layers) == 2
    assert evaluate_exact(form.lower(), x) == evaluate_exact(network, x)


def test_refusals_name_the_obstacle() -> None:
    with pytest.raises(NotInClass, match="joins 2 branches"):
        FeedForward.lift(residual())
    with pytest.raises(NotInClass, match="two affine maps in a row"):
        Affine.lift(bottleneck())
    with pytest.raises(NotInClass, match="no convolution"):
        Convolutional.lift(bottleneck())
    with pytest.raises(NotInClass, match="convolution"):
        FeedForward.lift(Convolutional.examples()[1].lower())


def test_constructors_check_shapes() -> None:
    with pytest.raises(ValueError, match="takes 3 entries, it gets 2"):
        FeedForward(((Gather(indices=np.arange(2), scale=None, inputs=2), None), (OUT, None)),
                    (Relu(),))
    with pytest.raises(ValueError, match="activations"):
        FeedForward(((W, B),), (Relu(),))
    with pytest.raises(ValueError, match="biases"):
        Affine(W, np.zeros(2))
    assert str(Layered(bottleneck())) == "Layered 12 to 12, 2 nodes"
