# SPDX-License-Identifier: Apache-2.0
"""What isoform does, one function each: read, plan, convert, prove, check, write, report."""

from __future__ import annotations

import os
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from isoform.api.atlas import atlas
from isoform.api.delivery import (
    Delivery,
    deliver,
    prepare,
    signature_for,
    source_dtype,
    step_rows,
)
from isoform.api.destinations import (
    certificate_path,
    check_certificate_path,
    check_destination,
    draft_of,
)
from isoform.api.domains import domain
from isoform.api.evaluation import arithmetic_of, claim_rows, decide, errors_of, parting_of
from isoform.api.exports import Exported, export_claim, export_query
from isoform.api.inspection import Inspection, inspection
from isoform.api.linear_regions import (
    LinearRegions,
    Piecewise,
    check_region_output,
    ends_of,
    estimate_regions,
    kernels_are_kept,
    piecewise,
    point_of,
    points_of,
    region_at,
    regions,
    regions_along,
)
from isoform.api.measuring import Measurement, NotMeasured, measurement_of
from isoform.api.properties import (
    Answer,
    answer_of,
    answer_query,
    property_query,
    prove_property,
    replay_claim,
)
from isoform.api.proving import (
    carried_over,
    check_tolerances,
    context,
    epsilon,
    prove_exact,
    relation_of,
    signatures_apart,
)
from isoform.api.reading import read
from isoform.certificate.certificate import Certificate, load, save
from isoform.certificate.check import Accepted
from isoform.certificate.check import check as accept
from isoform.certificate.verdict import Proved, Refuted, Verdict
from isoform.errors import DomainError, Refused, UnsupportedModel
from isoform.forms import form_name
from isoform.forms.model import Model
from isoform.network.claim import Claim
from isoform.network.domain import Domain, Everywhere, exact_number
from isoform.network.evaluate import evaluate as evaluate_floats
from isoform.network.evaluate import evaluate_exact as evaluate_numbers
from isoform.network.network import Network
from isoform.network.primitive import to_primitive
from isoform.network.size import Limit
from isoform.numerics.enclosure import Enclosure
from isoform.numerics.exact import Exact
from isoform.plan.reporter import SILENT, Reporter
from isoform.plan.route import plan as find_route
from isoform.plan.run import Conversion, run
from isoform.plan.steps import Plan
from isoform.report.page import Report, page
from isoform.verify.checking import Checking

__all__ = [
    "Answer", "Conversion", "Delivery", "Exported", "Inspection", "LinearRegions", "Measurement",
    "Model", "NotMeasured", "Piecewise", "Plan", "Report", "Reporter", "Verdict", "answer_of",
    "answer_query", "atlas", "certificate_of", "check", "check_certificate_path",
    "check_destination", "check_region_output", "claim_about", "claim_rows", "convert", "deliver",
    "domain", "ends_of", "epsilon", "errors_of", "estimate_regions", "evaluate", "evaluate_exact",
    "export_claim", "export_query", "inspection", "kernels_are_kept", "measurement_of", "name_of",
    "parting_of", "piecewise", "plan", "point_of", "points_of", "property_query", "prove",
    "prove_exact", "prove_property", "read", "region_at", "regions", "regions_along",
    "replay_claim", "report", "save", "signatures_apart", "step_rows", "to_torch", "write",
]

EVERYWHERE = Everywhere()
DEFAULT_LIMIT = Limit()


def plan(
    model: Any, *, to: str | None = None, by: str | None = None, on: Domain | str = EVERYWHERE,
    limit: Limit = DEFAULT_LIMIT, options: Mapping[str, Any] | None = None,
    within: Fraction | None = None, reporter: Reporter = SILENT,
) -> Plan:
    """The cheapest admissible route from a model to a form (`to="affine"`), or through one
    converter (`by="collapse_linear"`); sizes are predicted before the result is computed.

    within: the eps for converters that approximate. options: by name, for any converter on the way.

    Raises NoRoute (with what would open it), TooLarge, DomainError, Refused.
    """
    if not isinstance(limit, Limit):
        raise Refused(f"limit={limit!r} is no Limit; write limit=Limit(units={limit!r})")
    return find_route(
        read(model), to=to, by=by, on=as_domain(on), limit=limit, options=options, within=within,
        reporter=reporter,
    )


def convert(
    model: Any, route: Plan | None = None, *, to: str | None = None, by: str | None = None,
    on: Domain | str = EVERYWHERE, limit: Limit = DEFAULT_LIMIT,
    options: Mapping[str, Any] | None = None, within: Fraction | None = None,
    reporter: Reporter = SILENT, seed: int = 0,
) -> Conversion:
    """Run a plan (or the one that `to` or `by` asks for) under every converter's contract.

    The result is exact: rounding happens when it is written. Raises ContractBroken where a
    converter breaks its promise, and the errors of `plan`.
    """
    if route is None:
        route = plan(model, to=to, by=by, on=on, limit=limit, options=options, within=within,
                     reporter=reporter)
    elif read(model).network != route.model.network:
        raise Refused("the plan is of another model; plan again for this one")
    return run(route, reporter=reporter, seed=seed)


def prove(
    target: Any, *, equal_to: Any, on: Domain | str = EVERYWHERE,
    within: Any = None, same_decision: bool | Fraction = False,
    arithmetic: str = "reals",
    timeout: float | None = None, seed: int = 0, reporter: Reporter = SILENT, workers: int = 1,
    state: str | os.PathLike[str] | None = None,
) -> Verdict:
    """Is `target` the same function as `equal_to` on a domain?

    Asks Equal; `within=eps` (a number, Fraction or exact decimal text, or one for each output as a
    sequence, array, `1e-3,1e-2` or an `.npy` file) asks for the largest difference,
    `same_decision=True` (or a margin) for the preferred output. arithmetic: "reals", or "float32"
    and "float64" for a claim within an eps about the evaluation of both graphs in floats, whatever
    the order of the sums. timeout: seconds for all searches and the check of an upper value.
    workers: processes for long searches. state: a file in which the splitting search is kept, and
    from which it goes on. Returns Proved, Refuted (with a witness) or Undecided; a first Ctrl-C
    ends with Undecided and the values found until then.
    """
    source, other = read(equal_to), read(target)
    claim = claim_about(
        source, other, on=on, within=within, same_decision=same_decision, arithmetic=arithmetic
    )
    made = target if isinstance(target, Conversion) else None
    reporter.proving(str(claim))
    known = context(source, other, made, timeout, seed, reporter, workers, state)
    return decide(source, other, claim, known)


def claim_about(
    source: Any, target: Any, *, on: Domain | str = EVERYWHERE, within: Any = None,
    same_decision: bool | Fraction = False, arithmetic: str = "reals",
) -> Claim:
    """The claim that `prove` decides with these arguments; its errors."""
    first = read(source)
    number_type = arithmetic_of(arithmetic, first, read(target))
    claim = Claim(relation_of(within, same_decision), as_domain(on), number_type)
    check_tolerances(claim.relation, first.network.output_dimension)
    return claim


def check(
    certificate: Certificate | Verdict | str | os.PathLike[str], *, source: Any = None,
    target: Any = None, grade: str = "exact", jobs: int = 1,
) -> Accepted:
    """Re-derive a certificate's claim, independently of whatever made it.

    certificate: itself, its file, or the verdict that it belongs to.
    source, target: the models or their files, to be compared with what the certificate holds.
    jobs: processes for splitting trees, with the same result; a script that gives more than one
    must do so under `if __name__ == "__main__":`.
    Raises CertificateRejected with the first failing item.
    """
    if jobs < 1:
        raise Refused(f"{jobs} processes to check with; give 1 or more")
    if isinstance(certificate, str | os.PathLike):
        held = load(Path(certificate))
    else:
        held = as_certificate(certificate)
    return accept(
        held, grade=grade, spread=Checking(workers=jobs).spread,
        source=None if source is None else as_certified(source, held.source).loaded,
        target=None if target is None else as_certified(target, held.target).loaded,
    )


def write(
    value: Any, path: str | os.PathLike[str], *, certificate: Certificate | Verdict | None = None,
    exact: bool | None = None, dtype: str | None = None, like: Any = None,
) -> Path:
    """Write a model, network, form or conversion as .onnx (rounded, or split with `exact`) or .npz
    (lossless), whole or not at all.

    like: a model whose names and shapes the file takes. certificate: of a claim about `value`; the
    claim is carried over to the file as written (where numbers are rounded: within the best eps, or
    without a bounded domain about the network that the file rounds) and its certificate put beside
    it. Raises Refused, and writes nothing, where that cannot be proved. `deliver` does both in one.
    """
    from isoform.formats.npz import write_network
    from isoform.formats.onnx.write import write_onnx

    model = read(value)
    named = read(like) if like is not None else model
    path = check_destination(path, model)
    beside = certificate_path(path, None)
    with draft_of(path) as draft:
        rounded = 0
        if path.suffix.lower() == ".npz":
            write_network(model.network, draft, model.signature)
        else:
            prepared = prepare(model.network, dtype or source_dtype(named), exact)
            rounded = prepared.rounded
            signature = signature_for(named, prepared.network, prepared.dtype)
            write_onnx(prepared.network, draft, signature=signature)
        held = None if certificate is None else carried_over(
            as_certificate(certificate), read(draft), rounded
        )
    if held is not None:
        save(held, beside)
    return path


def to_torch(
    value: Any, *, exact: bool | None = None, dtype: str | None = None, like: Any = None,
) -> Any:
    """A torch.nn.Module, in evaluation mode, of a model, network, form or conversion.

    Numbers that fit no float of `dtype` (by default the source's) are rounded to the nearest, or
    with `exact` written as sums of floats. like: a model whose names, shapes and batch the module
    takes. Plain layers where the network is a chain, a module that interprets the graph otherwise.
    Raises Refused where constants have no floats or an operator has no module.
    """
    from isoform.formats.torch import write_torch

    model = read(value)
    named = read(like) if like is not None else model
    prepared = prepare(model.network, dtype or source_dtype(named), exact)
    return write_torch(prepared.network, signature_for(named, prepared.network, prepared.dtype))


def report(made: Conversion, verdict: Verdict | None = None) -> Report:
    """A page on a conversion and, where there is one, its verdict: `.save("page.html")`."""
    return page(
        title=f"{made.model.origin} as {made.plan.name}",
        before=(made.model.form_name or "network", made.model.size),
        after=(made.plan.name, made.size),
        plan=str(made.plan), trace=str(made), verdict=verdict,
    )


def name_of(form: Any) -> str:
    """The name of a form's class, as in the command line."""
    return form_name(type(form))


def as_domain(on: Domain | str) -> Domain:
    """A domain, or the one that a text means. DomainError for what is neither."""
    if isinstance(on, Domain):
        return on
    if isinstance(on, str):
        return domain(on)
    raise DomainError(f"on={on!r} is no domain; write Box(-1, 1) or a text such as 'box:-1,1'")


def as_certified(value: Any, network: Any) -> Model:
    """The model of a certificate's file, its batch axis read the way the certificate did."""
    model = read(value)
    if to_primitive(model.network).digest != network.digest and isinstance(
        value, str | os.PathLike
    ):
        try:
            kept = read(value, batch="keep")
        except UnsupportedModel:
            return model  # the checker says that it is another network
        if to_primitive(kept.network).digest == network.digest:
            return kept
    return model


def as_certificate(value: Certificate | Verdict) -> Certificate:
    """A certificate, or that of a verdict. Refused where there is none."""
    if isinstance(value, Certificate):
        return value
    held = certificate_of(value)
    if held is None:
        raise Refused(f"a {type(value).__name__} verdict has no certificate; only Proved and "
                      "Refuted have")
    return held


def evaluate(model: Any, x: Any) -> np.ndarray:
    """The outputs at the rows of x, (batch, n) or one point (n,), in floats: whatever `read` takes.

    Raises Refused for another number of inputs.
    """
    network = read(model).network
    points = np.asarray(x)
    check_width(network, points.shape[-1:])
    return evaluate_floats(network, points)


def evaluate_exact(model: Any, x: Any) -> Exact | Enclosure:
    """The exact outputs at the *columns* of x, (n, points) or one point (n,): numbers with an exact
    value (Exact, Fractions, integers, floats as the dyadic numbers that they are).

    An Enclosure where an opaque function has no exact value. Raises Refused for another number of
    inputs.
    """
    network = read(model).network
    points = exact_number(x)
    check_width(network, points.shape[:1])
    return evaluate_numbers(network, points)


def check_width(network: Network, given: tuple[int, ...]) -> None:
    """Refused where points do not have as many entries as the network has inputs."""
    if given != (network.dimension,):
        raise Refused(f"the network takes {network.dimension} inputs, the points have "
                      f"{given[0] if given else 'none'}")


def certificate_of(verdict: Verdict) -> Certificate | None:
    """The certificate of a decided claim."""
    return verdict.certificate if isinstance(verdict, Proved | Refuted) else None
