# SPDX-License-Identifier: Apache-2.0
"""Architecture classes as nodes, converters as edges, and why some arrows do not exist.

Two kinds of edges are free and not listed: every form lowers to a network, which lifts into
`layered` where it has no recurrence; and a form lifts into a more specific class where that class
takes it, which only the network itself decides.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from isoform.converters.catalogue import CATALOGUE
from isoform.converters.converter import Converter
from isoform.errors import NoRoute
from isoform.forms import FORMS, form_name

GENERAL = "layered"  # the class that every form without recurrence lowers into


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """An arrow that is no converter, with the reason.

    kind: N (impossible), U (undecidable), B (a lower bound on every such conversion) or L (holds in
    a limit only). remedy: the nearest thing that does exist.
    """

    source: str
    target: str
    kind: str
    text: str
    reference: str
    remedy: str = ""


KINDS = {
    "E": "exact", "A": "within eps", "C": "exact under a condition",
    "N": "impossible", "U": "undecidable", "B": "lower bound", "L": "limit only",
}

EXPLANATIONS = (
    Explanation(
        source="recurrent", target="feed-forward", kind="N",
        text="over sequences of all lengths a recurrent network is no feed-forward network: that "
        "has a fixed number of inputs, and one bit of state computes parity at every length",
        reference="counting inputs; parity",
        remedy="fix the horizon (--horizon T): T steps unroll exactly",
    ),
    Explanation(
        source="recurrent", target="layered", kind="N",
        text="over sequences of all lengths no graph with a fixed number of inputs has the same "
        "function",
        reference="counting inputs; parity",
        remedy="fix the horizon (--horizon T): T steps unroll exactly",
    ),
    Explanation(
        source="recurrent", target="recurrent", kind="U",
        text="whether two ReLU recurrent networks with rational weights agree on all lengths is "
        "undecidable: such networks run Turing machines",
        reference="Siegelmann and Sontag 1995; arXiv 2004.00478",
        remedy="ask for a fixed horizon, or for linear recurrences, where it is decidable",
    ),
    Explanation(
        source="lstm", target="gru", kind="N",
        text="over all lengths, in finite precision, an LSTM counts (a^n b^n) and a GRU does not",
        reference="arXiv 1805.04908",
        remedy="a fixed horizon unrolls both into one feed-forward graph",
    ),
    Explanation(
        source="threshold", target="continuous", kind="N",
        text="a unit that jumps is no uniform limit of continuous networks",
        reference="discontinuity",
        remedy="leave a band around each facet out of the domain; the banded approximation exists",
    ),
    Explanation(
        source="feed-forward", target="one-layer", kind="B",
        text="a sawtooth of k hidden layers of two units needs 2^k - 1 hinges in one hidden layer",
        reference="arXiv 1509.08101, 1602.04485",
    ),
    Explanation(
        source="feed-forward", target="kernel", kind="L",
        text="a network is a kernel machine in the limit of infinite width only",
        reference="arXiv 1711.00165, 1806.07572",
    ),
)


def form_names() -> tuple[str, ...]:
    """Names of all implemented classes, most specific first."""
    return tuple(form_name(target) for target in FORMS)


def form_class(name: str) -> type:
    """The class of a form's name. NoRoute, with the nearest names, for an unknown one."""
    for target in FORMS:
        if form_name(target) == name:
            return target
    near = get_close_matches(name, form_names(), 1, 0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise NoRoute(f"there is no form {name!r}; {hint}forms: {', '.join(form_names())}")


def converter_named(name: str, catalogue: Sequence[Converter] = CATALOGUE) -> Converter:
    """The converter of a name. NoRoute, with the nearest names, for an unknown one."""
    names = [converter.name for converter in catalogue]
    if name in names:
        return catalogue[names.index(name)]
    near = get_close_matches(name, names, 1, 0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise NoRoute(f"there is no converter {name!r}; {hint}converters: {', '.join(names)}")


def ends(converter: Converter) -> tuple[str, str]:
    """Form names of a converter's source and target."""
    return form_name(converter.source), form_name(converter.target)


def is_rewriting(converter: Converter) -> bool:
    """Whether source and target are one class: such a converter is asked for by name."""
    return converter.source is converter.target


def converters_from(
    name: str, catalogue: Iterable[Converter] = CATALOGUE
) -> tuple[Converter, ...]:
    """Converters between classes that a form of this class may enter, lowered if need be."""
    return tuple(
        converter for converter in catalogue
        if not is_rewriting(converter) and ends(converter)[0] in (name, GENERAL)
    )


def distances(goal: str, catalogue: Sequence[Converter] = CATALOGUE) -> dict[str, int]:
    """Fewest converters from each class to `goal`, forms lowering freely; no entry: no way."""
    found = {goal: 0}
    waiting = deque([goal])
    while waiting:
        here = waiting.popleft()
        sources = [ends(c)[0] for c in catalogue if not is_rewriting(c) and ends(c)[1] == here]
        for source in sources:
            entered = form_names() if source == GENERAL else (source,)
            for name in entered:
                if name not in found:
                    found[name] = found[here] + 1
                    waiting.append(name)
    return found


def class_route(
    source: str, goal: str, catalogue: Sequence[Converter] = CATALOGUE
) -> tuple[Converter, ...] | None:
    """Fewest converters from one class to another, by name; None where there is no such chain."""
    left = distances(goal, catalogue)
    route: list[Converter] = []
    here = source
    while here != goal:
        if here not in left:
            return None
        here_next = [
            c for c in converters_from(here, catalogue)
            if left.get(ends(c)[1], left[here]) == left[here] - 1
        ]
        route.append(here_next[0])
        here = ends(here_next[0])[1]
    return tuple(route)


def explanations(source: str | None = None, target: str | None = None) -> list[Explanation]:
    """The arrows that do not exist, between two names (None: any)."""
    return [
        item for item in EXPLANATIONS
        if source in (None, item.source) and target in (None, item.target)
    ]


def known_names() -> tuple[str, ...]:
    """All names that the atlas can speak about."""
    named = (name for item in EXPLANATIONS for name in (item.source, item.target))
    return tuple(dict.fromkeys([*form_names(), *named]))
