# SPDX-License-Identifier: Apache-2.0
"""A loaded network together with the architecture class that it is in."""

from __future__ import annotations

import html
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from isoform.errors import NotInClass, Refused
from isoform.forms import FORMS, form_name
from isoform.network.model import Loaded, Signature
from isoform.network.network import Network
from isoform.network.size import Size, measure
from isoform.text import count, html_table, plural


@dataclass(frozen=True, slots=True)
class Lifted:
    """The most specific form of a network (None: in no class), and for each more specific class
    the reason why the network is not in it, by form name."""

    form: Any
    why_not: dict[str, str]


def lift_into(network: Network, target: Any) -> Any:
    """The form of a network in one class. NotInClass with the first obstacle otherwise."""
    try:
        return target.lift(network)
    except Refused as refusal:
        raise NotInClass(f"not {form_name(target)}: {refusal}") from refusal


def most_specific(network: Network) -> Lifted:
    """The first of FORMS (most specific first) that takes the network."""
    why_not: dict[str, str] = {}
    for target in FORMS:
        try:
            return Lifted(lift_into(network, target), why_not)
        except NotInClass as obstacle:
            why_not[form_name(target)] = str(obstacle)
    return Lifted(None, why_not)


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """What `read` returns: a network, its signature, where it came from; its form on demand.

    loaded: as the format's reader gave it. given: the form that it was made from, if any.
    No slots: the lifted form is kept beside the fields once it was asked for.
    """

    loaded: Loaded
    given: Any = None

    @staticmethod
    def of(value: Network | Loaded | Any, origin: str = "") -> Model:
        """A model around a network, a loaded network or a form; a model passes through."""
        match value:
            case Model():
                return value
            case Loaded():
                return Model(value)
            case Network():
                name = origin or "a network in memory"
                return Model(Loaded(network=value, signature=Signature.of(value), origin=name))
        network = value.lower()
        name = origin or f"a {type(value).__name__} in memory"
        loaded = Loaded(network=network, signature=Signature.of(network), origin=name)
        return Model(loaded, value)

    @property
    def network(self) -> Network:
        return self.loaded.network

    @property
    def signature(self) -> Signature:
        return self.loaded.signature

    @property
    def digest(self) -> str | None:
        """sha256 of the file (None for an object in memory)."""
        return self.loaded.digest

    @property
    def origin(self) -> str:
        return self.loaded.origin

    @property
    def reading(self) -> tuple[str, ...]:
        """The conventions that gave the file its exact meaning."""
        return self.loaded.reading

    @property
    def opset(self) -> int | None:
        return self.loaded.opset

    @cached_property
    def lifted(self) -> Lifted:
        """The most specific form and why not the classes before it."""
        return Lifted(self.given, {}) if self.given is not None else most_specific(self.network)

    @property
    def form(self) -> Any:
        """The most specific form. NotInClass, with the reason of every class, if there is none."""
        if self.lifted.form is not None:
            return self.lifted.form
        reasons = "".join(f"\n  - {name}: {why}" for name, why in self.why_not.items())
        raise NotInClass(f"{self.origin} is in none of the architecture classes:{reasons}")

    @property
    def form_name(self) -> str | None:
        """As in the command line ("feed-forward"); None for a network in no class."""
        return None if self.lifted.form is None else form_name(type(self.lifted.form))

    @property
    def why_not(self) -> dict[str, str]:
        """Form name to reason, for the classes more specific than `form`."""
        return self.lifted.why_not

    def as_form(self, target: type) -> Any:
        """The form in a given class. NotInClass with the first obstacle."""
        held = self.lifted.form
        if isinstance(held, target):
            return held
        return lift_into(self.network, target)

    @cached_property
    def size(self) -> Size:
        return measure(self.network)

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Rows (what, value) for a terminal or a notebook."""
        form = self.lifted.form
        shown = "in no class" if form is None else str(form)
        size = self.size
        return [
            ("origin", self.origin),
            ("form", shown),
            ("function", f"R^{self.network.dimension} -> R^{self.network.output_dimension}"),
            ("size", f"depth {size.depth}, width {count(size.width)}, "
                     f"{plural(size.units, 'unit')}, {plural(size.parameters, 'parameter')}"),
        ]

    def __repr__(self) -> str:
        name = self.form_name or "no known form"
        size = self.size
        return (
            f"Model({self.origin}: {name}, {self.network.dimension} -> "
            f"{self.network.output_dimension}, depth {size.depth}, width {count(size.width)}, "
            f"{plural(size.parameters, 'parameter')})"
        )

    def _repr_html_(self) -> str:
        return f"<b>{html.escape(self.origin)}</b>" + html_table(self.facts)
