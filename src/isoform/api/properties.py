# SPDX-License-Identifier: Apache-2.0
"""Properties and queries in VNN-LIB: decided, answered in its words, with counterexamples of others
replayed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isoform.api.domains import present
from isoform.api.proving import context
from isoform.api.reading import read
from isoform.certificate.verdict import Proved, Refuted, Verdict
from isoform.errors import FormatError, Refused
from isoform.formats.vnnlib.assignment import (
    assignment_text,
    claim_layout,
    point_of,
    read_assignment,
)
from isoform.formats.vnnlib.claims import Asked, network_query, stands_for
from isoform.formats.vnnlib.query import Query
from isoform.formats.vnnlib.reader import read_query
from isoform.forms.model import Model
from isoform.network.claim import Claim
from isoform.network.domain import bound_to
from isoform.network.whole_file import write_whole
from isoform.numerics.enclosure import Enclosure
from isoform.plan.reporter import SILENT, Reporter
from isoform.text import plural
from isoform.verify.foreign import judge
from isoform.verify.prove import prove

WORDS = {Proved: "unsat", Refuted: "sat"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A verdict in the words of VNN-LIB: `sat` where a counterexample exists (Refuted), `unsat`
    where none does (Proved), else `unknown`. models: by their declared names. foreign: what became
    of a counterexample of another verifier, None where none was given."""

    verdict: Verdict
    asked: Asked
    models: dict[str, Model]
    foreign: str | None = None

    @property
    def word(self) -> str:
        return WORDS.get(type(self.verdict), "unknown")

    @property
    def assignment(self) -> str | None:
        """The counterexample in the format of the query's version, behind the word; None unless
        `sat`."""
        if not isinstance(self.verdict, Refuted):
            return None
        witness = self.verdict.witness
        parts = [Enclosure.of(part) for part in (witness.source, witness.target)]
        values = witness.point.fractions()
        for part in parts:
            pairs = zip(part.low.fractions(), part.high.fractions(), strict=True)
            values += [(low + high) / 2 for low, high in pairs]
        filled = np.empty(len(values), dtype=object)
        filled[:] = values
        return assignment_text(self.asked, filled, self.word)

    def save_assignment(self, path: str | os.PathLike[str]) -> None:
        """Write the counterexample, whole or not at all. Refused where there is none."""
        text = self.assignment
        if text is None:
            raise Refused(f"the answer is {self.word}, so there is no counterexample to write")
        write_whole(path, lambda file: file.write(text.encode()))


def prove_property(
    models: Any, property: str | os.PathLike[str], *, timeout: float | None = None, seed: int = 0,
    replay: str | os.PathLike[str] | None = None, reporter: Reporter = SILENT, workers: int = 1,
    state: str | os.PathLike[str] | None = None,
) -> Answer:
    """Decide the query of a VNN-LIB file (1.0 or 2.0) about one network or several.

    models: whatever `read` takes, a sequence of such in the order of the declared networks (without
    those that are `equal-to` another), or a mapping by their names. replay: a file with a
    counterexample of another verifier, which is tried first. timeout, workers, state: of the
    search, as in `prove`. The claim is over the reals, whatever
    types the tensors are declared with. Raises FormatError, Refused, DomainError and TooLarge as
    `formats.vnnlib` says, and the errors of `read`.
    """
    query = property_query(models, property)
    return answer_query(
        query, timeout=timeout, seed=seed, replay=replay, reporter=reporter, workers=workers,
        state=state,
    )


@dataclass(frozen=True, slots=True)
class PropertyQuery:
    """A query together with its models, by their declared names, and the claim that it makes."""

    asked: Asked
    models: dict[str, Model]


def property_query(models: Any, property: str | os.PathLike[str]) -> PropertyQuery:
    """The claim that a VNN-LIB file makes of models; parameters and errors of `prove_property`."""
    query = read_query(present(os.fspath(property)))
    named = by_name(query, models)
    name = f"the property {Path(property).name}"
    loaded = {key: model.loaded for key, model in named.items()}
    return PropertyQuery(network_query(query, loaded, name), named)


def answer_query(
    query: PropertyQuery, *, timeout: float | None = None, seed: int = 0,
    replay: str | os.PathLike[str] | None = None, reporter: Reporter = SILENT, workers: int = 1,
    state: str | os.PathLike[str] | None = None,
) -> Answer:
    """Decide a claim that a query makes; parameters and errors of `prove_property`."""
    asked, models = query.asked, query.models
    reporter.proving(str(asked.claim))
    known: dict[str, Any] = {
        "timeout": timeout, "seed": seed, "report": reporter.proof_progress, "workers": workers,
        "state": state,
    }
    if asked.files is not None:
        pair = [models[file] for file in asked.files]
        known = context(pair[0], pair[1], None, timeout, seed, reporter, workers, state)
    foreign = None
    if replay is not None:
        verdict, foreign = replayed(asked, replay, known)
        if verdict is not None:
            return Answer(verdict=verdict, asked=asked, models=models, foreign=foreign)
    verdict = prove(asked.source, asked.target, asked.claim, **known)
    return Answer(verdict=verdict, asked=asked, models=models, foreign=foreign)


def replayed(
    asked: Asked, path: str | os.PathLike[str], known: Mapping[str, Any]
) -> tuple[Verdict | None, str]:
    """A refutation by the counterexample in a file, or None, and what became of it."""
    held = read_assignment(present(os.fspath(path)))
    try:
        point = point_of(held, asked)
    except FormatError as error:
        return None, f"discarded: {error}"
    of_files = {key: known[key] for key in ("files", "reading") if key in known}
    found = judge(asked.source, asked.target, asked.claim, point, **of_files)
    return found.refuted, found.said


def replay_claim(
    source: Any, target: Any, claim: Claim, path: str | os.PathLike[str]
) -> tuple[Verdict | None, str]:
    """The same for a claim about two models: a counterexample to its exported query, in either
    format. Raises FormatError for a file that is no assignment."""
    first, second = read(source), read(target)
    known = context(first, second, None, None, 0, SILENT)
    return replayed(claim_layout(claim, first.loaded, second.loaded), path, known)


def answer_of(source: Model, target: Model, verdict: Verdict) -> Answer:
    """A verdict on a claim about two models, to be written as an assignment for its query."""
    claim = verdict.claim
    bound = Claim(claim.relation, bound_to(claim.domain, source.network.dimension))
    asked = claim_layout(bound, source.loaded, target.loaded)
    return Answer(verdict=verdict, asked=asked, models={"f": source, "g": target})


def by_name(query: Query, models: Any) -> dict[str, Model]:
    """The model of each declared network."""
    needed = [net.name for net in query.networks if not stands_for(net)]
    if isinstance(models, Mapping):
        return {name: read(model) for name, model in models.items()}
    listed = list(models) if isinstance(models, Sequence) and not isinstance(models, str) else [
        models]
    if len(listed) != len(needed):
        raise Refused(
            f"the query declares {plural(len(needed), 'network')} with a file "
            f"({', '.join(needed)}), {len(listed)} were given"
        )
    return {name: read(model) for name, model in zip(needed, listed, strict=True)}
