# SPDX-License-Identifier: Apache-2.0
"""A route as a value: its steps, what they predict and promise, and how it prints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from isoform.converters.converter import Converter, Promise
from isoform.forms import form_name
from isoform.forms.model import Model
from isoform.network.domain import Domain, Everywhere
from isoform.network.size import Limit, Prediction, Size
from isoform.plan.class_graph import ends
from isoform.text import columns, count, html_table

PROMISES = (Promise.EVERYWHERE, Promise.ON_DOMAIN, Promise.WITHIN)
HEADER = ("step", "result", "promise", "depth", "width", "units", "parameters", "nonzeros")


@dataclass(frozen=True, slots=True)
class Step:
    """One converter of a route. prediction: None where it is known only once the step before has
    run."""

    converter: Converter
    options: Any
    prediction: Prediction | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A route from a model to a form. steps: none where the model only has to be recognised.

    goal: the class of the result; name: what was asked for; rejected: alternatives and why not.
    """

    model: Model
    name: str
    goal: type
    domain: Domain
    limit: Limit
    steps: tuple[Step, ...]
    rejected: tuple[tuple[str, str], ...] = ()

    @property
    def promise(self) -> Promise:
        """The weakest promise of the route."""
        return worst(step.converter.promise for step in self.steps)

    @property
    def size(self) -> Size | None:
        """The predicted size of the result; None where it is known only while running."""
        if not self.steps:
            return self.model.size
        last = self.steps[-1].prediction
        return None if last is None else last.size

    def rows(self) -> list[tuple[str, ...]]:
        """One row a step: converter, result, promise, depth, width, units, parameters, nonzeros."""
        start = self.model.size
        rows = [("read", self.model.form_name or "network", "", *figures(start, ""))]
        for step in self.steps:
            converter = step.converter
            rows.append((
                converter.name, ends(converter)[1], converter.promise.value,
                *predicted_figures(step.prediction),
            ))
        if not self.steps and self.model.form_name != form_name(self.goal):
            promise = Promise.EVERYWHERE.value
            rows.append(("lift", form_name(self.goal), promise, *figures(start, "")))
        return rows

    def __str__(self) -> str:
        everywhere = isinstance(self.domain, Everywhere)
        place = "everywhere" if everywhere else f"on {self.domain!r}"
        way = "to" if self.name == form_name(self.goal) else "by"
        lines = [f"Plan: {self.model.origin} {way} {self.name}, {place}",
                 columns(self.rows(), HEADER)]
        lines += [f"  not {what}: {why}" for what, why in self.rejected]
        return "\n".join(lines)

    def __repr__(self) -> str:
        names = ", ".join(step.converter.name for step in self.steps) or "nothing to convert"
        return f"Plan({self.name}: {names}; {self.promise.value})"

    def _repr_html_(self) -> str:
        return html_table(self.rows(), HEADER)


def figures(size: Size, mark: str) -> tuple[str, ...]:
    """The columns of a size; `mark` stands before each."""
    numbers = (size.depth, size.width, size.units, size.parameters, size.nonzeros)
    return tuple(mark + count(number) for number in numbers)


def predicted_figures(prediction: Prediction | None) -> tuple[str, ...]:
    """The columns of a prediction: = exactly (no mark), <= at most, ~ an estimate."""
    if prediction is None:
        return ("while running", "", "", "", "")
    marks = {"Exactly": "", "AtMost": "<= ", "Estimate": "~ "}
    return figures(prediction.size, marks[type(prediction).__name__])


def worst(promises: Iterable[Promise]) -> Promise:
    """The weakest of some promises; equal everywhere if there are none."""
    return max(promises, key=PROMISES.index, default=Promise.EVERYWHERE)
