# SPDX-License-Identifier: Apache-2.0
"""What `prove` does with VNN-LIB: properties and queries, their answers, and files for and from
other verifiers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import rich_click as click

from isoform.cli.output import STATUS, Batch, emit, model_record, note, verdict_record

if TYPE_CHECKING:
    from isoform.api import Answer, Model, Verdict
    from isoform.network.claim import Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked for beside the verdict: files to write, and one to replay."""

    certificate: str | None
    counterexample: str | None
    export: str | None
    replay: str | None
    timeout: float | None
    workers: int
    state: str | None
    seed: int


def decide_property(
    models: list[str], named: tuple[str, ...], property: str, wanted: Wanted, batch: Batch,
    as_json: bool,
) -> int:
    """Answer the query of a VNN-LIB file about models in order, or by `name=file`."""
    from isoform import api
    from isoform.cli.progress import Progress
    from isoform.report.tables import verdict_name, verdict_text

    if models and named:
        raise click.UsageError("name the models by --network or in order, not both")
    given: Any = [api.read(model, batch=batch) for model in models]
    if named:
        given = {name: api.read(path, batch=batch) for name, path in map(name_and_file, named)}
    query = api.property_query(given, property)
    rows, record = exported(wanted, lambda folder: api.export_query(query, folder))
    with Progress() as progress:
        answer = api.answer_query(
            query, timeout=wanted.timeout, seed=wanted.seed, replay=wanted.replay,
            reporter=progress, workers=wanted.workers, state=wanted.state,
        )
    note_interrupt(answer.verdict, wanted)
    if answer.foreign is not None:
        rows.append(("replay", answer.foreign))
        record["replay"] = answer.foreign
    more, written = saved(answer.verdict, wanted, answer.save_assignment)
    seen, measurement = measured(answer)
    files = {name: model_record(model) for name, model in answer.models.items()}
    pair = query.asked.files or (None, None)
    ends = dict(zip(("source", "target"), (files.get(name or "") for name in pair), strict=True))
    text = verdict_text(answer.verdict, [("answer", answer.word)], [*seen, *rows, *more])
    emit(
        {"answer": answer.word, "property": property} | verdict_record(answer.verdict) | ends
        | {"networks": files} | record | written | measurement,
        text, as_json,
    )
    return STATUS[verdict_name(answer.verdict)]


def note_interrupt(verdict: Verdict, wanted: Wanted) -> None:
    """Say where a verdict is what was known at an interrupt."""
    if getattr(verdict, "interrupted", False):
        more = "the same command goes on" if wanted.state else "with --state FILE it could go on"
        note(f"interrupted: the values are what was found until then; {more}")


def name_and_file(text: str) -> tuple[str, str]:
    """`name=file`."""
    name, sign, path = text.partition("=")
    if not (name and sign and path):
        raise click.UsageError(f"--network {text}: write NAME=FILE")
    return name, path


def replayed(
    source: Model, target: Model, claim: Claim, wanted: Wanted
) -> tuple[Verdict | None, list[tuple[str, str]], dict[str, Any]]:
    """A refutation by another verifier's counterexample, or None; what is said of it."""
    from isoform import api

    if wanted.replay is None:
        return None, [], {}
    verdict, said = api.replay_claim(source, target, claim, wanted.replay)
    return verdict, [("replay", said)], {"replay": said}


def exported(wanted: Wanted, export: Any) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """Write an export where one is asked for; its rows and its record."""
    if wanted.export is None:
        return [], {}
    made = export(wanted.export)
    rows = [("export", f"{made.folder}: {', '.join(made.files)}")]
    rows += [("", reason) for reason in made.left_out]
    return rows, {"export": {"folder": str(made.folder), "files": list(made.files),
                             "left_out": list(made.left_out)}}


def saved(
    verdict: Verdict, wanted: Wanted, save_assignment: Any
) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """Write certificate and counterexample where they are asked for and there."""
    from isoform import api
    from isoform.report.tables import verdict_name

    rows: list[tuple[str, str]] = []
    record: dict[str, Any] = {"certificate": None}
    held = api.certificate_of(verdict)
    if wanted.certificate is not None and held is not None:
        api.save(held, wanted.certificate)
        rows.append(("certificate", wanted.certificate))
        record["certificate"] = wanted.certificate
    elif wanted.certificate is not None:
        note(f"{wanted.certificate} was not written: an undecided claim has no certificate")
    if wanted.counterexample is not None:
        record["counterexample"] = None
        name = verdict_name(verdict)
        if name == "refuted":
            save_assignment(wanted.counterexample)
            rows.append(("counterexample", wanted.counterexample))
            record["counterexample"] = wanted.counterexample
        else:
            note(f"{wanted.counterexample} was not written: the claim is {name}")
    return rows, record


def measured(answer: Answer) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """What the files give at a witness, where that is asked of ONNX files: a row and a record.
    After everything is written, for a runtime may end the process."""
    from isoform import api

    found = api.measurement_of(answer)
    if found is None:
        return [], {"measured": None}
    return [("measured", str(found))], {"measured": found.record()}
