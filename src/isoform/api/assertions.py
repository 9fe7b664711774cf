# SPDX-License-Identifier: Apache-2.0
"""`assert_equal`: one line of a test that guards a converter, an export or a refactoring."""

from __future__ import annotations

from fractions import Fraction
from math import isfinite
from typing import Any

from isoform.api import prove, read
from isoform.certificate.verdict import Proved, Refuted, Undecided
from isoform.network.claim import SameDecision
from isoform.network.domain import Domain, Everywhere, hull
from isoform.numerics.exact import approximately
from isoform.report.tables import interval, verdict_name, witness_rows
from isoform.text import columns, decimal
from isoform.verify.goal import rounded_up

EVERYWHERE = Everywhere()
LONGEST_POINT = 16  # entries of a witness that are printed as numbers to paste
NAMES = {"source": "a(x)", "target": "b(x)"}


class NotProved(AssertionError):
    """What `assert_equal` raises; `verdict` is the prover's answer, Refuted or Undecided."""

    def __init__(self, message: str, verdict: Refuted | Undecided):
        super().__init__(message)
        self.verdict = verdict


def assert_equal(
    a: Any, b: Any, *, on: Domain | str = EVERYWHERE, within: Any = None,
    same_decision: bool | Fraction = False, timeout: float | None = None, seed: int = 0,
) -> Proved:
    """Pass only where it is proved that b is the same function as a; returns the verdict.

    a, b: whatever `read` takes: paths, torch modules, fitted scikit-learn estimators, models,
    networks, forms. on, within, same_decision, timeout: as in `prove`. Without `within` or
    `same_decision` the claim is exact equality over the reals.

    Raises AssertionError where the claim is refuted (with the witness and both outputs) and where
    it stays undecided (with the bounds so far): a claim that nobody proved does not pass. Its
    attribute `verdict` is the prover's answer. The errors of `read` and `prove` pass through.
    """
    __tracebackhide__ = True  # pytest: the line of the test is the place of the failure
    source, target = read(a), read(b)
    verdict = prove(
        target, equal_to=source, on=on, within=within, same_decision=same_decision,
        timeout=timeout, seed=seed,
    )
    if isinstance(verdict, Proved):
        return verdict
    raise NotProved(message(verdict, source.origin, target.origin), verdict) from None


def message(verdict: Refuted | Undecided, a: str, b: str) -> str:
    """What failed, where, by how much, and what to do."""
    rows = [("claim", str(verdict.claim)), ("a", a), ("b", b)]
    if isinstance(verdict, Refuted):
        witness = verdict.witness
        rows += [(NAMES.get(name, name), text)
                 for name, text in witness_rows(witness, verdict.lower)]
        if witness.point.size <= LONGEST_POINT:
            rows.append(("x to paste", f"[{', '.join(map(pasted, witness.point.fractions()))}]"))
    else:
        rows.append(("why", verdict.reason))
    rows.append((measured(verdict), interval(verdict.lower, verdict.upper)))
    rows.append(("what to do", advice(verdict)))
    head = f"b is not proved to be the same function as a: {verdict_name(verdict)}"
    return f"{head}\n{columns(rows)}"


def measured(verdict: Refuted | Undecided) -> str:
    """What lower and upper value are of."""
    decision = isinstance(verdict.claim.relation, SameDecision)
    return "lost margin" if decision else "largest difference"


def pasted(value: Fraction) -> str:
    """A float where it is that number, else a Fraction in words of Python."""
    near = approximately(value)
    return repr(near) if isfinite(near) and Fraction(near) == value else f"Fraction({str(value)!r})"


def advice(verdict: Refuted | Undecided) -> str:
    """The argument that would help, with a number where one is certified."""
    relation = verdict.claim.relation
    keyword = "same_decision" if isinstance(relation, SameDecision) else "within"
    upper = verdict.upper
    if upper is not None and upper > 0:
        enough = decimal(rounded_up(upper), up=True)
        other = ("look for the change at x" if isinstance(verdict, Refuted)
                 else "give a smaller domain (on=) or more time (timeout=)")
        return f"{keyword}={enough} is certified; if that is too much, {other}"
    if isinstance(verdict, Refuted):
        return (f"look for the change at x; if so much is allowed, ask {keyword}=EPS above "
                f"{decimal(verdict.lower, up=True)}")
    if hull(verdict.claim.domain) is None:
        return "give a bounded domain, such as on='box:-1,1'"
    return "give a smaller domain (on=), more time (timeout=), or allow a difference (within=)"
