# SPDX-License-Identifier: Apache-2.0
"""Which claim is asked of a result, and the prover's verdict on it."""

from __future__ import annotations

import os
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from isoform.api.domains import array_file, present
from isoform.certificate.certificate import Certificate
from isoform.certificate.verdict import Proved, Verdict
from isoform.converters.converter import Promise
from isoform.errors import Refused
from isoform.forms.model import Model
from isoform.network.claim import Arithmetic, Claim, Equal, Relation, SameDecision, Within
from isoform.network.domain import hull
from isoform.network.model import Tensor
from isoform.network.network import Network
from isoform.network.primitive import to_primitive
from isoform.numerics.exact import Exact, rational
from isoform.plan.reporter import SILENT, Reporter
from isoform.plan.run import Conversion
from isoform.text import plural
from isoform.verify.float_claims import prove_in_floats
from isoform.verify.prove import prove, prove_best, prove_rounding


def epsilon(value: Any) -> Fraction:
    """An allowed difference: a number, Fraction or exact decimal text, 0 or more."""
    try:
        eps = rational(value) if isinstance(value, str) else Exact.of(value).item()
    except (ValueError, TypeError, ZeroDivisionError):
        raise Refused(f"eps is {value!r}; give a number such as 0.001 or 1e-6") from None
    if eps < 0:
        raise Refused(f"eps is {value}; give 0 or more")
    return eps


def tolerance(value: Any) -> Fraction | tuple[Fraction, ...]:
    """An allowed difference for all outputs, or one number for each of them.

    A sequence or array (m,), a text with commas (`1e-3,1e-2`), or the name of an `.npy` file with m
    numbers stands for one eps an output; everything else for one eps of all. Raises Refused for
    what is no number of 0 or more, DomainError for a file that cannot be read.
    """
    if isinstance(value, str) and value.lower().endswith(".npy"):
        array = array_file(present(value))
        if array.dtype.kind not in "fiu":
            raise Refused(f"{value} holds {array.dtype}, not numbers; save one eps for each output")
        value = array.reshape(-1)
    elif isinstance(value, str) and "," in value:
        value = [part.strip() for part in value.split(",")]
    if isinstance(value, Exact | np.ndarray) and value.ndim > 0:
        if value.ndim > 1:
            raise Refused(f"eps has the shape {value.shape}; give one number for each output, (m,)")
        value = [value[i] for i in range(value.size)]
    if not isinstance(value, list | tuple):
        return epsilon(value)
    if not value:
        raise Refused("no eps at all; give one number, or one for each output")
    return tuple(epsilon(each) for each in value)


def relation_of(within: Any, same_decision: bool | Fraction) -> Relation:
    """The relation that the arguments ask for: Equal where they ask for nothing else."""
    if within is not None and same_decision is not False:
        raise Refused("ask either within an eps or for the same decision, not both")
    if within is not None:
        return Within(tolerance(within))
    if same_decision is False:
        return Equal()
    return SameDecision(Fraction(0) if same_decision is True else epsilon(same_decision))


def check_tolerances(relation: Relation, outputs: int) -> None:
    """Refused where a claim has one eps an output, but not for this number of outputs."""
    if not isinstance(relation, Within) or not isinstance(relation.eps, tuple):
        return
    if len(relation.eps) != outputs:
        raise Refused(
            f"{plural(len(relation.eps), 'number')} for eps, but {plural(outputs, 'output')}; "
            "give one number for all, or one for each output"
        )


def context(
    source: Model, target: Model, made: Conversion | None, timeout: float | None, seed: int,
    reporter: Reporter, workers: int = 1, state: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """What goes into a certificate beside networks, claim and evidence; how the search is run. A
    search with one worker and no state file is what every question has, and is not named."""
    more: dict[str, Any] = {} if workers == 1 else {"workers": workers}
    if state is not None:
        more["state"] = state
    return {
        "files": (source.digest, target.digest),
        "reading": (source.reading, target.reading),
        "trace": () if made is None else tuple(done.line for done in made.trace),
        "timeout": timeout, "seed": seed, "report": reporter.proof_progress, **more,
    }


def signatures_apart(source: Model, target: Model) -> str | None:
    """How two models were compared where their borders are not the same, a leading axis that counts
    as batch aside; None where they are."""
    apart = []
    for what in ("inputs", "outputs"):
        sides = [getattr(side, what) for side in (source.signature, target.signature)]
        if [border(tensor) for tensor in sides[0]] != [border(tensor) for tensor in sides[1]]:
            texts = [", ".join(f"{t.name} {list(t.shape)}" for t in side) for side in sides]
            apart.append(f"{what} {texts[0]} and {texts[1]}")
    return f"compared entry by entry, in row-major order: {'; '.join(apart)}" if apart else None


def border(tensor: Tensor) -> tuple[str, tuple[int, ...]]:
    """Name and shape, without leading axes of length one."""
    shape = tensor.shape
    while shape[:1] == (1,):
        shape = shape[1:]
    return tensor.name, shape


def prove_exact(
    made: Conversion, *, within: Fraction | None = None, timeout: float | None = None,
    seed: int = 0, reporter: Reporter = SILENT,
) -> Verdict:
    """The verdict on a conversion's exact network, before anything is rounded or written."""
    verdict, _ = settle(made, Model.of(made.network), 0, within, timeout, seed, reporter)
    return verdict


def settle(
    made: Conversion, target: Model, rounded: int, within: Fraction | None,
    timeout: float | None, seed: int, reporter: Reporter,
) -> tuple[Verdict, bool]:
    """The verdict on what a conversion became, and whether it is only about the exact network that
    a file rounds.

    Case 1: an eps was asked for. Case 2: nothing was rounded and the route is exact: Equal.
    Case 3: the domain is bounded: Equal, or the best eps. Case 4: Equal between the source and the
    network whose constants the file rounds; the values of the file have no bound on all of R^n.
    """
    source, domain = made.model, made.plan.domain
    known = context(source, target, made, timeout, seed, reporter)
    inexact = made.plan.promise is Promise.WITHIN
    if within is not None or not (rounded or inexact):
        claim = Claim(relation_of(within, False), domain)
        reporter.proving(str(claim))
        return prove(source.network, target.network, claim, **known), False
    if hull(domain) is not None:
        reporter.proving("equal, or the best eps that can be certified")
        return prove_best(source.network, target.network, domain, **known), False
    if inexact:
        raise Refused("a conversion within eps needs a bounded domain; give one (--on box:-1,1)")
    reporter.proving("equal to the exact network that the file rounds")
    exact: Network = made.network
    return prove_rounding(exact, target.network, source.network, domain, **known), True


def carried_over(certificate: Certificate, written: Model, rounded: int) -> Certificate:
    """The certificate of a network, for the file that it was written to.

    Case 1: the file means the certified network: only its hash is added. Case 2: nothing was
    rounded, or the claim is no equality: the same claim is proved of the file. Case 3: numbers were
    rounded: the best eps, or without a bounded domain the claim about what the file rounds.
    """
    files = (certificate.files[0], written.digest)
    reading = (certificate.reading[0], written.reading)
    if to_primitive(written.network).digest == certificate.target.digest:
        return replace(certificate, files=files, reading=reading)
    source, claim = certificate.source, certificate.claim
    known: dict[str, Any] = {"files": files, "reading": reading, "trace": certificate.trace}
    if not rounded or not isinstance(claim.relation, Equal):
        ask = prove if claim.arithmetic is Arithmetic.REALS else prove_in_floats
        verdict = ask(source, written.network, claim, **known)
    elif hull(claim.domain) is not None:
        verdict = prove_best(source, written.network, claim.domain, **known)
    else:
        exact = certificate.rounds or certificate.target
        verdict = prove_rounding(exact, written.network, source, claim.domain, **known)
    if not isinstance(verdict, Proved):
        raise Refused(
            f"the certificate says '{claim}', which is not proved of the file as written "
            f"({rounded} numbers rounded); write with exact=True, or without a certificate"
        )
    return verdict.certificate
