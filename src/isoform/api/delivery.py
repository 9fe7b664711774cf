# SPDX-License-Identifier: Apache-2.0
"""From a conversion to a file with a proof: write, read back, prove, replay, then put in place.

The target of the claim is the network that the written bytes mean. Everything happens in a
temporary folder beside the destination; nothing appears there before it is complete, and nothing at
all where our own result is refuted.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from isoform.api.destinations import (
    certificate_path,
    check_destination,
    draft_of,
    keep_certificate,
)
from isoform.api.proving import settle
from isoform.api.reading import Batch, read
from isoform.certificate.verdict import Refuted, Verdict
from isoform.errors import ContractBroken, FormatError, IsoformError, Refused
from isoform.forms import form_name
from isoform.forms.model import Model
from isoform.network.evaluate import evaluate
from isoform.network.model import Signature, Tensor
from isoform.network.network import Network
from isoform.network.rounding import needs_rounding, rounded, split
from isoform.plan.reporter import SILENT, Reporter
from isoform.plan.run import Conversion, Done
from isoform.plan.sample import sample_floats
from isoform.report.tables import size_table, verdict_rows
from isoform.text import columns, count, decimal, html_table, plural

REPLAYED = 300
OPSET = 17
NO_LIMIT = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What is written. rounded: how many numbers were rounded; split: whether numbers that do not
    fit were written as sums."""

    network: Network
    dtype: str
    rounded: int = 0
    split: bool = False


@dataclass(frozen=True, slots=True)
class Deviation:
    """A measurement: the largest difference between source and file at `points` random points.
    largest is None where it could not be measured, and `note` says why. outputs: their largest
    size."""

    points: int
    largest: float | None
    note: str
    outputs: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Delivery:
    """A written file and what is known of it. about_rounding: the claim is about the exact network
    whose constants the file rounds, not about the values of the file itself."""

    path: Path
    conversion: Conversion
    written: Model
    prepared: Prepared
    verdict: Verdict | None
    about_rounding: bool
    deviation: Deviation
    certificate: Path | None
    bytes: int

    def rows(self) -> list[tuple[str, str]]:
        """What was run and written, what is proved of it, what was measured."""
        rows = step_rows(self.conversion)
        rows += [("written", f"{self.path}: {count(self.bytes)} bytes, {how_written(self)}")]
        if self.verdict is None:
            rows.append(("verdict", "not asked (--no-prove)"))
        else:
            rows += verdict_rows(self.verdict)
        if self.about_rounding:
            rows += [
                ("about", "the source and the exact network whose constants this file rounds"),
                ("", "(everywhere, the file's own values differ without bound; --on DOMAIN gives "
                 "an eps, --exact an equal file)"),
            ]
        rows.append(("measured", measured(self.deviation)))
        if self.certificate is not None:
            rows.append(("certificate", str(self.certificate)))
        return rows

    def __str__(self) -> str:
        made = self.conversion
        name = form_name(type(made.form))
        before = (made.model.form_name or "network", made.model.size)
        after = (name, self.written.size)
        return size_table(before, after) + "\n\n" + columns(self.rows(), indent=0)

    def __repr__(self) -> str:
        said = "not asked" if self.verdict is None else str(self.verdict.claim)
        return f"Delivery({self.path}: {type(self.verdict).__name__}, {said})"

    def _repr_html_(self) -> str:
        return html_table(self.rows())


def step_rows(made: Conversion) -> list[tuple[str, str]]:
    """One line a step, and one for each note of its converter."""
    return [
        row for done in made.trace
        for row in (("step", step_text(done)), *(("", note) for note in done.notes))
    ]


def step_text(done: Done) -> str:
    """One step in one line: time and spot check."""
    spot = f"{plural(done.spot.points, 'random point')} checked exactly"
    if not done.spot.points:
        spot = "too large for a spot check"
    return f"{done.step.converter.name}: {done.seconds:.2f} s; {spot}"


def how_written(delivery: Delivery) -> str:
    """Whether anything was rounded or split."""
    prepared = delivery.prepared
    if delivery.path.suffix.lower() == ".npz":
        return "lossless"
    if prepared.split:
        return f"{prepared.dtype}, numbers that do not fit written as sums: exact"
    if prepared.rounded:
        return f"{prepared.dtype}, {count(prepared.rounded)} numbers rounded to the nearest float"
    return f"{prepared.dtype}, nothing had to be rounded"


def measured(deviation: Deviation) -> str:
    """The deviation in one line, with what it is worth."""
    if deviation.largest is None:
        return f"nothing: {deviation.note}"
    return (f"largest deviation {deviation.largest:.3g} at {deviation.points} random points, "
            f"outputs up to {deviation.outputs:.3g} ({deviation.note}; no claim)")


def source_dtype(model: Model) -> str:
    """The source's float type: float64 where an input or output is one, else float32."""
    tensors = (*model.signature.inputs, *model.signature.outputs)
    return "float64" if any(tensor.dtype == "float64" for tensor in tensors) else "float32"


def prepare(network: Network, dtype: str, exact: bool | None) -> Prepared:
    """The network with constants that a file of this dtype holds. exact None: split where there
    are step units (a rounded facet leaves slivers in which no small eps is true), else round."""
    misfits = needs_rounding(network, dtype)
    if exact is None:
        exact = not network.continuous
    if misfits and exact:
        return Prepared(network=split(network, dtype), dtype=dtype, split=True)
    return Prepared(network=rounded(network, dtype), dtype=dtype, rounded=misfits)


def signature_for(model: Model, network: Network, dtype: str) -> Signature:
    """The source's names and shapes in the chosen dtype."""
    def typed(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(
            replace(t, dtype=dtype) if t.dtype.startswith("float") else t for t in tensors
        )

    kept = model.signature
    sizes = (network.dimension, network.output_dimension)
    if sizes != (model.network.dimension, model.network.output_dimension):
        kept = Signature.of(network)
    return replace(kept, inputs=typed(kept.inputs), outputs=typed(kept.outputs))


def write_file(made: Conversion, prepared: Prepared, path: Path) -> None:
    """The file itself: ONNX, or for .npz the native file of the form (exact, nothing rounded)."""
    if path.suffix.lower() == ".npz":
        write_form(made.form, path)
        return
    from isoform.formats.onnx.write import write_onnx

    bound = made.plan.limit.bytes
    write_onnx(
        prepared.network, path, signature=signature_for(made.model, prepared.network,
                                                        prepared.dtype),
        opset=max(OPSET, made.model.opset or 0), comment=f"isoform: {made.model.origin}",
        limit_bytes=NO_LIMIT if bound is None else bound,
    )


def write_form(form: Any, path: Path) -> None:
    """The native file of a form."""
    from isoform.formats.npz import write_npz

    write_npz({"form": form_name(type(form))} | form.arrays(), path)


def deliver(
    made: Conversion, path: str | os.PathLike[str], *, exact: bool | None = None,
    dtype: str | None = None, within: Fraction | None = None, proving: bool = True,
    timeout: float | None = None, certificate: str | os.PathLike[str] | None = None,
    seed: int = 0, reporter: Reporter = SILENT,
) -> Delivery:
    """Write a conversion to a file and prove the file.

    exact: write what does not fit as sums of floats, so that the file itself is equal (None: only
    for networks with steps). dtype: float32 or float64 (None: the source's). within: claim this eps
    instead of the best that can be proved. certificate: where to (None: beside the file).
    The file is put in place unless the verdict is Refuted, which raises ContractBroken; undecided
    leaves no certificate.
    """
    if not isinstance(made, Conversion):
        raise Refused(f"deliver takes what convert made, not a {type(made).__name__}; "
                      "isoform.write writes a model as it is")
    path = check_destination(path, made.model)
    beside = certificate_path(path, certificate)
    native = path.suffix.lower() == ".npz"
    prepared = (
        Prepared(network=made.network, dtype="float64") if native
        else prepare(made.network, dtype or source_dtype(made.model), exact)
    )
    with draft_of(path) as draft:
        reporter.writing(str(path))
        write_file(made, prepared, draft)
        batch: Batch = "keep" if made.model.signature.batch is None else "drop"
        written = read(draft, batch=batch)
        verdict, about_rounding = None, False
        if proving:
            verdict, about_rounding = settle(
                made, written, prepared.rounded, within, timeout, seed, reporter
            )
        if isinstance(verdict, Refuted):
            raise rejected(made, verdict, prepared, within)
        deviation = replay(made.model, written, made, reporter)
        size = draft.stat().st_size
        kept = keep_certificate(verdict, beside)
    written = replace(written, loaded=replace(written.loaded, origin=str(path)))
    return Delivery(
        path=path, conversion=made, written=written, prepared=prepared, verdict=verdict,
        about_rounding=about_rounding, deviation=deviation, certificate=kept, bytes=size,
    )


def rejected(
    made: Conversion, verdict: Refuted, prepared: Prepared, within: Fraction | None
) -> IsoformError:
    """The error for a written result that was refuted. Rounding may break an eps that was asked
    for; everything else is our own breach, and names the converters."""
    if within is not None and prepared.rounded:
        return Refused(
            f"rounding {count(prepared.rounded)} numbers to {prepared.dtype} changes the function "
            f"by {decimal(verdict.lower, up=False)} or more, which is beyond the eps of "
            f"{decimal(within)}; write it with --exact or --dtype float64, or allow more"
        )
    names = ", ".join(step.converter.name for step in made.plan.steps) or "lift and write"
    point = [float(x) for x in verdict.witness.point.fractions()[:8]]
    return ContractBroken(
        names, f"the claim '{verdict.claim}' about its result is refuted: output "
        f"{verdict.witness.output} differs by {float(verdict.witness.difference):.3g} at "
        f"x = {point}{'...' if verdict.witness.point.size > 8 else ''}; no file was written",
    )


def replay(model: Model, written: Model, made: Conversion, reporter: Reporter) -> Deviation:
    """Source and written file at random points of the domain, as a user would run them."""
    points = sample_floats(made.plan.domain, REPLAYED, source_dtype(model), seed=1)
    if len(points) == 0:
        return Deviation(0, None, "no random point of the domain was found")
    reporter.replaying(len(points))
    try:
        after = outputs(written, points)
    except FormatError as error:
        raise ContractBroken("the ONNX writer", f"onnxruntime rejects the file: {error}") from error
    except Refused as error:
        said = str(error).replace(written.origin, Path(written.origin).name)  # not the draft's path
        return Deviation(0, None, said)
    try:
        before = outputs(model, points)
        how = "onnxruntime" if written.origin.endswith(".onnx") else "numpy"
    except (Refused, FormatError):
        before = evaluate(model.network, points).astype(np.float64)
        how = "onnxruntime against numpy"
    with np.errstate(invalid="ignore"):
        gaps = np.abs(after - before)
    if not np.all(np.isfinite(gaps)):
        return Deviation(len(points), None, f"{how} gave infinities or NaN")
    largest = float(np.abs(before).max(initial=0.0))
    return Deviation(len(points), float(gaps.max(initial=0.0)), how, largest)


def outputs(model: Model, points: np.ndarray) -> np.ndarray:
    """What a user gets: onnxruntime for an ONNX file, the numpy evaluator for everything else."""
    if model.digest is not None and model.origin.endswith(".onnx"):
        from isoform.formats.replay import run_onnx

        return run_onnx(model.origin, points)
    return evaluate(model.network, points).astype(np.float64)
