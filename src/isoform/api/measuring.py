# SPDX-License-Identifier: Apache-2.0
"""What the ONNX files of a refuted claim give at its witness, as their user would see it: a
measurement in onnxruntime, never a claim. The verdict does not rest on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from isoform.api.properties import Answer
from isoform.certificate.verdict import Refuted
from isoform.errors import IsoformError, Refused
from isoform.formats.npz.archive import file_digest
from isoform.formats.replay import run_onnx, runtime_version
from isoform.formats.vnnlib.claims import file_of, places_of
from isoform.forms.model import Model
from isoform.network.claim import Avoids, Relation, SameDecision
from isoform.numerics.exact import Exact
from isoform.text import decimal

TYPES = (  # of inputs, the finest first
    "float64", "float32", "float16", "int64", "int32", "int8", "uint8", "bool",
)
SHOWN = 10  # outputs that are printed
LONGEST = 200  # characters of a reason


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measurement:
    """Outputs of the files of a claim in a runtime, all as float64, at one point.

    point: (n,) as it was fed; rounded: the types that the witness was rounded to, "" where it is
    made of their numbers; source, target: as in the witness, the same array for a claim about one
    network; relation, output: of the claim and its witness, for they say which outputs matter.
    """

    runtime: str
    point: np.ndarray
    rounded: str
    source: np.ndarray
    target: np.ndarray
    relation: Relation
    output: int

    def record(self) -> dict[str, Any]:
        """As in --json; JSON has no NaN and no infinities, they are strings."""
        return {
            "runtime": self.runtime, "point": plain(self.point), "rounded": self.rounded or None,
            "source": plain(self.source), "target": plain(self.target),
        }

    def __str__(self) -> str:
        """One line: the outputs that the claim is about."""
        place = f"that point rounded to {self.rounded}" if self.rounded else "that point"
        return f"{self.outputs()} at {place} ({self.runtime}; no claim)"

    def outputs(self) -> str:
        """Of a difference the output of the witness, of a decision what each file prefers, of a
        property all outputs."""
        if isinstance(self.relation, SameDecision):
            return f"source prefers {preferred(self.source)}, target {preferred(self.target)},"
        if not isinstance(self.relation, Avoids):
            return f"output {self.output}: {apart(*self.pair())}"
        if self.target is self.source:
            return f"output {listed(self.source)}"
        return f"source {listed(self.source)}, target {listed(self.target)}"

    def pair(self) -> tuple[float, float]:
        """The output that differs most in exact arithmetic, of both."""
        return float(self.source[self.output]), float(self.target[self.output])


@dataclass(frozen=True, slots=True)
class NotMeasured:
    """Why there is no measurement, in one line."""

    reason: str

    def record(self) -> dict[str, Any]:
        return {"reason": self.reason}

    def __str__(self) -> str:
        return f"nothing: {self.reason}"


@dataclass(frozen=True, slots=True)
class Place:
    """A network of a claim. enter, leave: for each of its inputs and outputs the number in
    (x, f(x), g(x)); ranks: for each input the number of its type in TYPES."""

    model: Model
    enter: np.ndarray
    leave: np.ndarray
    ranks: np.ndarray


def measurement_of(answer: Answer) -> Measurement | NotMeasured | None:
    """The files of a refuted claim at its witness in onnxruntime, without graph optimisations.

    answer: of `prove_property`, or `answer_of` a verdict on two models. The witness is rounded to
    the type of the inputs, to the coarser one where two files differ. None where nothing is
    refuted, or a network of the claim is no ONNX file. Whatever goes wrong is the reason of a
    `NotMeasured`, never an error.
    """
    verdict = answer.verdict
    if not isinstance(verdict, Refuted) or not all(map(is_onnx, answer.models.values())):
        return None
    try:
        return measured(answer, verdict)
    except IsoformError as error:
        return NotMeasured(one_line(str(error)))
    except KeyboardInterrupt:
        return NotMeasured("interrupted")
    except Exception as error:  # the verdict stands and is to be printed, whatever a runtime does
        return NotMeasured(one_line(f"{type(error).__name__}: {error}"))


def is_onnx(model: Model) -> bool:
    """Whether a model is that of an ONNX file."""
    return model.opset is not None and model.digest is not None


def one_line(text: str) -> str:
    """The beginning of a message that may be long and in lines."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."


def measured(answer: Answer, verdict: Refuted) -> Measurement:
    """The measurement; errors of all kinds."""
    asked, witness = answer.asked, verdict.witness
    n, m = asked.source.dimension, asked.source.output_dimension
    places = places_in(answer)
    point, rounded = fed(witness.point, places)
    outputs = np.zeros(m + asked.target.output_dimension)
    for place in places:
        outputs[place.leave - n] = computed(place, point)
    source = outputs[:m]
    target = source if asked.target is asked.source else outputs[m:]
    return Measurement(
        runtime=runtime_version(), point=point, rounded=rounded, source=source, target=target,
        relation=verdict.claim.relation, output=witness.output,
    )


def places_in(answer: Answer) -> list[Place]:
    """The networks of a claim, one after the other."""
    found = []
    for net in answer.asked.query.networks:
        model = answer.models[file_of(net)]
        ends = []
        for table in places_of(net, model.loaded):
            numbers = np.empty(len(table), dtype=np.int64)
            numbers[table[:, 1]] = answer.asked.columns[table[:, 0]]
            ends.append(numbers)
        ranks = [
            np.full(int(np.prod(tensor.shape, dtype=np.int64)), rank_of(tensor.dtype))
            for tensor in model.signature.inputs
        ]
        found.append(Place(model, ends[0], ends[1], np.concatenate(ranks)))
    return found


def rank_of(dtype: str) -> int:
    """Where a type stands in TYPES; Refused for others."""
    if dtype not in TYPES:
        raise Refused(f"no point is rounded to {dtype}")
    return TYPES.index(dtype)


def fed(witness: Exact, places: list[Place]) -> tuple[np.ndarray, str]:
    """The point that all files are given, and the types that it was rounded to. Each entry is a
    number of the coarsest type that a file takes it in, so that all see the same point."""
    ranks = np.zeros(witness.size, dtype=np.int64)
    for place in places:
        np.maximum.at(ranks, place.enter, place.ranks)
    point = np.zeros(witness.size)
    rounded = []
    for rank in np.unique(ranks).tolist():
        at = np.flatnonzero(ranks == rank)
        exact = witness[at]
        point[at] = nearest(exact, TYPES[rank])
        if Exact.of(point[at]) != exact:
            rounded.append(TYPES[rank])
    return point, " and ".join(rounded)


def nearest(values: Exact, dtype: str) -> np.ndarray:
    """The numbers of a type nearest to exact values; Refused beyond its largest."""
    if dtype.startswith("float"):
        near = values.to_float(dtype).astype(np.float64)
        beyond = np.flatnonzero(~np.isfinite(near)).tolist()
    else:
        ends = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        whole = [round(value) for value in values.fractions()]
        beyond = [i for i, value in enumerate(whole) if not ends[0] <= value <= ends[1]]
        near = np.array([0 if beyond else value for value in whole], dtype=np.float64)
    if beyond:
        value = decimal(values.fractions()[beyond[0]])
        raise Refused(f"an entry of the point, {value}, is beyond the numbers of {dtype}")
    return near


def computed(place: Place, point: np.ndarray) -> np.ndarray:
    """The outputs of one file."""
    model, x = place.model, point[place.enter]
    for rank in np.unique(place.ranks).tolist():
        part = x[place.ranks == rank]
        with np.errstate(all="ignore"):
            same = part.astype(TYPES[rank]).astype(np.float64) == part
        if not np.all(same):
            raise Refused(f"an entry of the point is no {TYPES[rank]}, which {model.origin} takes")
    if file_digest(model.origin) != model.digest:
        raise Refused(f"{model.origin} has changed since it was read")
    given = run_onnx(model.origin, x[None, :])[0]
    if given.shape != place.leave.shape:
        raise Refused(f"{model.origin} gave {given.size} numbers, not {place.leave.size}")
    return given


def plain(values: np.ndarray) -> list[float | str]:
    """Numbers as JSON has them; "NaN", "Infinity", "-Infinity" for what it lacks."""
    names = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    return [names.get(str(value), value) for value in values.tolist()]


def number(value: float, digits: int = 6) -> str:
    """A float like the exact numbers of the other rows."""
    return decimal(Fraction(value), digits) if math.isfinite(value) else str(value)


def apart(source: float, target: float) -> str:
    """Two values, with as many digits as it takes to see whether they differ."""
    gap = abs(target - source)
    if gap == 0:
        return f"{number(source)} and {number(target)}, the same,"
    digits = next((n for n in (6, 9, 12) if number(source, n) != number(target, n)), 17)
    how = f", {number(gap, 3)} apart," if math.isfinite(gap) else ""
    return f"{number(source, digits)} and {number(target, digits)}{how}"


def preferred(values: np.ndarray) -> str:
    """Which output is largest; several in floats more often than in exact numbers."""
    if np.isnan(values).any():
        return "none (NaN)"
    best = np.flatnonzero(values == values.max()).tolist()
    if len(best) == 1:
        return f"output {best[0]}"
    more = ", ..." if len(best) > SHOWN else ""
    return f"outputs {', '.join(map(str, best[:SHOWN]))}{more} alike"


def listed(values: np.ndarray) -> str:
    """The first outputs."""
    more = ", ..." if len(values) > SHOWN else ""
    return f"({', '.join(map(number, values[:SHOWN].tolist()))}{more})"
