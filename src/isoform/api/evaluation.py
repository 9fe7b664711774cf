# SPDX-License-Identifier: Apache-2.0
"""In which arithmetic a claim is made, and what is said of it beside the verdict."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from isoform.api.reading import read
from isoform.certificate.reduction import reduced
from isoform.certificate.verdict import Proved, Refuted, Verdict
from isoform.errors import Refused
from isoform.forms.model import Model
from isoform.network.claim import Arithmetic, Claim, SameDecision
from isoform.network.domain import bound_to
from isoform.network.parting import Parting
from isoform.network.primitive import to_primitive
from isoform.text import decimal
from isoform.verify.explain import explain
from isoform.verify.float_claims import prove_in_floats, rounding_errors
from isoform.verify.prove import prove

DIGITS = {"float16": 16, "float32": 32, "float64": 64}


def arithmetic_of(value: str | Arithmetic, source: Model, target: Model) -> Arithmetic:
    """The arithmetic that a name means. Refused for others, and where an ONNX file computes in
    narrower floats than asked for: then it is not evaluated that way."""
    try:
        arithmetic = Arithmetic(value)
    except ValueError:
        names = ", ".join(each.value for each in Arithmetic)
        raise Refused(f"arithmetic is {value!r}; give one of {names}") from None
    if arithmetic is Arithmetic.REALS:
        return arithmetic
    for model in (source, target):
        for tensor in model.signature.inputs if model.opset is not None else ():
            if DIGITS.get(tensor.dtype, 64) < DIGITS[arithmetic.value]:
                raise Refused(
                    f"{model.origin} computes in {tensor.dtype}, not in {arithmetic.value}; ask "
                    f"for {tensor.dtype}, or over the reals"
                )
    return arithmetic


def decide(source: Model, target: Model, claim: Claim, known: dict[str, Any]) -> Verdict:
    """The prover's verdict on a claim in any arithmetic."""
    ask = prove if claim.arithmetic is Arithmetic.REALS else prove_in_floats
    return ask(source.network, target.network, claim, **known)


def parting_of(source: Any, target: Any, verdict: Verdict, seed: int = 0) -> Parting | None:
    """Where two models (whatever `read` takes) part, after a verdict on them; None for a proved
    claim. Of a refuted one its witness is looked at too. A report, measured in part; the verdict
    does not rest on it."""
    if isinstance(verdict, Proved):
        return None
    point = verdict.witness.point if isinstance(verdict, Refuted) else None
    first, second = read(source).network, read(target).network
    return explain(first, second, verdict.claim, point, seed=seed)


def errors_of(source: Model, target: Model, claim: Claim) -> tuple[Fraction, Fraction] | None:
    """Bounds of the rounding errors of both networks; None for a claim over the reals."""
    if claim.arithmetic is Arithmetic.REALS:
        return None
    return rounding_errors(source.network, target.network, claim)


def claim_rows(
    source: Model, target: Model, claim: Claim, errors: tuple[Fraction, Fraction] | None
) -> list[tuple[str, str]]:
    """How a claim came down to one that was proved or refuted, row by row; often nothing. errors:
    what `errors_of` gives."""
    if errors is not None:
        texts = [decimal(error, up=True) for error in errors]
        return [("rounding errors", f"at most {texts[0]} (source) and {texts[1]} (target), in "
                 f"{claim.arithmetic.value}, for every order of sums")]
    if not isinstance(claim.relation, SameDecision):
        return []
    networks = [to_primitive(model.network) for model in (source, target)]
    domain = bound_to(claim.domain, networks[0].dimension)
    found = reduced(networks[0], networks[1], Claim(claim.relation, domain))
    pairs = (("source", networks[0], found.source), ("target", networks[1], found.target))
    shorter = [name for name, whole, used in pairs if used is not whole]
    if not shorter:
        return []
    return [("compared", f"{' and '.join(shorter)} before the last function, which keeps the "
             "order of the outputs")]
