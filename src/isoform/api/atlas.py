# SPDX-License-Identifier: Apache-2.0
"""The atlas: which architecture class converts into which, at what promise, and what cannot."""

from __future__ import annotations

import html
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from isoform.converters.catalogue import CATALOGUE
from isoform.converters.converter import Converter, Promise
from isoform.errors import NoRoute
from isoform.plan.class_graph import (
    EXPLANATIONS,
    GENERAL,
    KINDS,
    Explanation,
    class_route,
    ends,
    explanations,
    form_names,
    known_names,
)
from isoform.text import columns, html_table

EDGE_KINDS = {Promise.EVERYWHERE: "E", Promise.ON_DOMAIN: "E", Promise.WITHIN: "A"}
HEADER = ("from", "to", "kind", "by", "promise", "reference")


@dataclass(frozen=True, slots=True)
class Atlas:
    """Arrows between classes. route: the converters of the question, None where there is no route
    (or no single question was asked); edges, missing: the arrows to show."""

    source: str | None
    target: str | None
    route: tuple[Converter, ...] | None
    edges: tuple[Converter, ...]
    missing: tuple[Explanation, ...]

    def rows(self) -> list[tuple[str, ...]]:
        """One row an arrow."""
        return [
            (*ends(c), EDGE_KINDS[c.promise], c.name, c.promise.value, c.reference)
            for c in self.edges
        ]

    def __repr__(self) -> str:
        return f"Atlas({len(self.edges)} conversions, {len(self.missing)} that cannot be)"

    def __str__(self) -> str:
        lines = []
        if self.source is not None and self.target is not None:
            lines.append(self.answer())
        if self.edges:
            lines.append(columns(self.rows(), HEADER))
        for item in self.missing:
            kind = KINDS[item.kind]
            lines.append(f"  {item.source} -> {item.target}: {kind}: {item.text} "
                         f"({item.reference})")
            if item.remedy:
                lines.append(f"    instead: {item.remedy}")
        return "\n".join(lines)

    def answer(self) -> str:
        """One sentence on the question FROM TO."""
        asked = f"{self.source} -> {self.target}"
        if self.route:
            return f"{asked}: by {', then '.join(c.name for c in self.route)}"
        if self.source == self.target:
            return f"{asked}: nothing to convert"
        if self.target == GENERAL and self.route is not None:
            return f"{asked}: every form lowers into it"
        return f"{asked}: no route in the catalogue"

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {
            "from": self.source, "to": self.target,
            "route": None if self.route is None else [c.name for c in self.route],
            "edges": [dict(zip(HEADER, row, strict=True)) for row in self.rows()],
            "missing": [
                {"from": item.source, "to": item.target, "kind": KINDS[item.kind],
                 "text": item.text, "reference": item.reference, "remedy": item.remedy}
                for item in self.missing
            ],
        }

    def _repr_html_(self) -> str:
        return html_table(self.rows(), HEADER) + f"<pre>{html.escape(str(self))}</pre>"


def atlas(source: str | None = None, target: str | None = None) -> Atlas:
    """The arrows of the catalogue, all of them or those between two classes.

    Raises NoRoute for a name that is no class.
    """
    for name in (source, target):
        if name is not None and name not in known_names():
            near = get_close_matches(name, known_names(), 1, 0.5)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise NoRoute(f"there is no form {name!r}; {hint}known: {', '.join(known_names())}")
    if source is None or target is None:
        edges = tuple(c for c in CATALOGUE if source is None or ends(c)[0] in (source, GENERAL))
        return Atlas(source, target, None, edges, tuple(explanations(source, target)))
    route = between(source, target)
    missing = tuple(item for item in EXPLANATIONS if (item.source, item.target) == (source, target))
    return Atlas(source, target, route, route or (), missing)


def between(source: str, target: str) -> tuple[Converter, ...] | None:
    """The converters from one class to another; empty where lowering is enough."""
    if source not in form_names() or target not in form_names():
        return None
    if target in (source, GENERAL):
        return ()
    return class_route(source, target)
