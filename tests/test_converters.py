# SPDX-License-Identifier: Apache-2.0
"""The contract of every converter, over its source's examples: same function, size, refusals."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import isoform.converters
from isoform.converters.catalogue import CATALOGUE
from isoform.converters.converter import Converter
from isoform.network.domain import Box, Domain, Everywhere, bound_to
from isoform.network.evaluate import evaluate_exact
from isoform.network.size import AtMost, Exactly, measure
from isoform.numerics.enclosure import Enclosure
from isoform.numerics.exact import Exact

DOMAINS = {"box": Box(-2, 2), "everywhere": Everywhere()}
CASES = [
    pytest.param(converter, form, domain, id=f"{converter.name}-{i}-{name}")
    for converter in CATALOGUE
    for i, form in enumerate(converter.source.examples())  # type: ignore[attr-defined]
    for name, domain in DOMAINS.items()
]


def points(n: int, count: int = 6) -> Exact:
    """Random rationals in [-2, 2] (with both corners), one point a column."""
    random = np.random.default_rng(n)
    numbers = random.integers(-42, 43, (n, count)).astype(object)
    numbers[:, 0], numbers[:, 1] = -42, 42
    return Exact(numbers, 21)


def assert_same(a: Any, b: Any) -> None:
    if isinstance(a, Enclosure) or isinstance(b, Enclosure):
        a, b = Enclosure.of(a), Enclosure.of(b)
        assert np.all((b.high - a.low).sign() >= 0) and np.all((a.high - b.low).sign() >= 0)
    else:
        assert a == b


def assert_within(form: Any, prediction: Any) -> None:
    actual = measure(form.lower()).as_dict()
    match prediction:
        case Exactly(size):
            assert actual == size.as_dict()
        case AtMost(size):
            too_large = {k: (v, size.as_dict()[k]) for k, v in actual.items()
                         if v > size.as_dict()[k]}
            assert not too_large


def admissible(converter: Converter, form: Any, on: Domain) -> Domain:
    domain = bound_to(on, form.lower().dimension)
    refusal = converter.requires(form, domain, converter.options())
    if refusal is not None:
        assert refusal.reason and refusal.remedy
        pytest.skip(f"refused: {refusal}")
    return domain


@pytest.mark.parametrize(("converter", "form", "on"), CASES)
def test_contract(converter: Converter, form: Any, on: Domain) -> None:
    domain = admissible(converter, form, on)
    options = converter.options()
    prediction = converter.predict(form, domain, options)
    result = converter.rewrite(form, domain, options)
    assert isinstance(result.form, converter.target)
    x = points(form.lower().dimension)
    assert_same(evaluate_exact(result.form.lower(), x), evaluate_exact(form.lower(), x))
    assert_within(result.form, prediction)
    again = converter.rewrite(form, domain, options)
    assert again.form == result.form and again.notes == result.notes
    lifted = converter.target.lift(result.form.lower())  # type: ignore[attr-defined]
    assert lifted == result.form


@pytest.mark.parametrize("converter", CATALOGUE, ids=lambda c: c.name)
def test_declaration(converter: Converter) -> None:
    assert converter.reference
    assert converter.summary.endswith(".") and converter.summary.count(". ") == 0
    assert re.fullmatch(r"[a-z0-9_]+", converter.name)
    assert isinstance(converter.options(), converter.options)


def test_every_file_is_in_the_catalogue() -> None:
    folder = Path(isoform.converters.__file__).parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "converter", "catalogue"}
    names = {converter.name for converter in CATALOGUE}
    assert names == files and len(names) == len(CATALOGUE)
