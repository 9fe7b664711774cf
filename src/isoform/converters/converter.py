# SPDX-License-Identifier: Apache-2.0
"""A converter is a value: a pure function from form to form with what it promises beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from isoform.network.domain import Domain
from isoform.network.size import Prediction


class Promise(Enum):
    """What a converter promises of source and target, over the reals."""

    EVERYWHERE = "equal everywhere"
    ON_DOMAIN = "equal on the domain"
    WITHIN = "within eps on the domain"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a converter declines a form on a domain, and what would help."""

    reason: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}" if self.remedy else self.reason


@dataclass(frozen=True, slots=True)
class NoOptions:
    """Options of a converter that has none."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The result of a rewriting. notes: a few facts for the report ("12 units merged"); details:
    what was decided one by one, however many lines, for whoever asks (--json, the trace)."""

    form: Any
    notes: tuple[str, ...] = ()
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Converter:
    """One rewriting theorem.

    name: as in the command line (`--by name`); source, target: classes of form; predict: the size
    of the result, before anything is computed; requires: a Refusal, or None where the rewriting is
    admissible; rewrite: the rewriting itself, exact (it computes in `Exact`); options: a frozen
    dataclass whose fields are the `--option` keys; reference: paper and theorem; summary: one
    sentence, an equality of functions; example: the law in one formula.
    All three functions take (form, domain bound to the form's dimension, options).
    """

    name: str
    source: type
    target: type
    promise: Promise
    summary: str
    reference: str
    predict: Callable[[Any, Domain, Any], Prediction]
    requires: Callable[[Any, Domain, Any], Refusal | None]
    rewrite: Callable[[Any, Domain, Any], Rewritten]
    options: type = NoOptions


def always(form: Any, on: Domain, options: Any) -> Refusal | None:
    """`requires` of a converter that never refuses."""
    return None
