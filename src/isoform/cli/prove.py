# SPDX-License-Identifier: Apache-2.0
"""`isoform prove`: are two files the same function?"""

from __future__ import annotations

from typing import Any

import rich_click as click

from isoform.cli.answers import (
    Wanted,
    decide_property,
    exported,
    measured,
    note_interrupt,
    replayed,
    saved,
)
from isoform.cli.output import (
    DOMAINS,
    STATUS,
    Batch,
    batch_option,
    common,
    emit,
    model_record,
    verdict_record,
)


@click.command(epilog=f"{DOMAINS} Example: isoform prove before.onnx after.onnx --on box:-1,1 "
               "--within 1e-5")
@click.argument("a", required=False)
@click.argument("b", required=False)
@click.option("--on", metavar="DOMAIN", default="everywhere", show_default=True,
              help="Where the claim is to hold.")
@click.option("--within", metavar="EPS",
              help="Ask for |A - B| <= EPS in every output, instead of equality: one number, one "
                   "for each output (1e-3,1e-2,...), or an .npy file of them.")
@click.option("--same-decision", is_flag=True, help="Ask whether A and B prefer the same output.")
@click.option("--margin", metavar="M",
              help="With --same-decision: only where A prefers its output by M or more.")
@click.option("--arithmetic", type=click.Choice(["reals", "float32", "float64"]), default="reals",
              show_default=True,
              help="With --within: floats ask about the evaluation of both graphs in that type, "
                   "whatever the order of the sums.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="S",
              help="Seconds for everything, about: searches, and the check of what they find.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", default=1, show_default=True,
              help="Processes for a long search by splitting.")
@click.option("--state", metavar="FILE",
              help="Keep the search by splitting there, and go on from there.")
@click.option("--explain", is_flag=True,
              help="Unless the claim is proved: say at which layer, unit and weight A and B part, "
                   "and where on DOMAIN the claim fails.")
@click.option("--certificate", metavar="FILE", help="Where to write the certificate.")
@click.option("--property", metavar="FILE",
              help="Answer the query of a VNN-LIB file (1.0 or 2.0) about A, or about A and B.")
@click.option("--network", metavar="NAME=FILE", multiple=True,
              help="With --property: the file of a declared network, in place of A and B.")
@click.option("--counterexample", metavar="FILE",
              help="Where to write a counterexample, as an assignment of VNN-LIB.")
@click.option("--export", metavar="FOLDER",
              help="Write the claim as VNN-LIB queries, with ONNX files, for other verifiers.")
@click.option("--replay", metavar="FILE",
              help="First try the counterexample of another verifier.")
@click.option("--seed", type=int, default=0, hidden=True)
@batch_option
@common
def prove(
    a: str | None, b: str | None, on: str, within: str | None, same_decision: bool,
    margin: str | None, arithmetic: str, timeout: float | None, workers: int, state: str | None,
    explain: bool, certificate: str | None, property: str | None, network: tuple[str, ...],
    counterexample: str | None, export: str | None, replay: str | None, seed: int, batch: Batch,
    as_json: bool, debug: bool,
) -> int:
    """Decide whether B equals A on DOMAIN, or a property of A. Exit status 0 only for a proof."""
    from isoform import api

    if margin is not None and not same_decision:
        raise click.UsageError("--margin belongs to --same-decision")
    decision = api.epsilon(margin) if margin is not None else same_decision
    if certificate is not None:
        api.check_certificate_path(certificate)
    wanted = Wanted(
        certificate=certificate, counterexample=counterexample, export=export, replay=replay,
        timeout=timeout, workers=workers, state=state, seed=seed,
    )
    if property is not None:
        if on != "everywhere" or within is not None or same_decision or arithmetic != "reals":
            raise click.UsageError("--property says domain and claim itself; leave out --on, "
                                   "--within, --same-decision and --arithmetic")
        if explain:
            raise click.UsageError("--explain compares A and B; --property does not")
        models = [model for model in (a, b) if model is not None]
        return decide_property(models, network, property, wanted, batch, as_json)
    missing = "A" if a is None else "B"
    if a is None or b is None:
        raise click.UsageError(f"Missing argument '{missing}'.")
    if network:
        raise click.UsageError("--network belongs to --property")
    if arithmetic != "reals" and (export is not None or replay is not None):
        raise click.UsageError("--export and --replay are about the reals, not --arithmetic")
    said = {"on": on, "within": within, "same_decision": decision, "arithmetic": arithmetic}
    return decide_pair((a, b), said, wanted, explain, batch, as_json)


def decide_pair(
    files: tuple[str, str], said: dict[str, Any], wanted: Wanted, explain: bool, batch: Batch,
    as_json: bool,
) -> int:
    """Decide a claim about two files."""
    from isoform import api
    from isoform.cli.progress import Progress
    from isoform.report.parting import parting_record, parting_text
    from isoform.report.tables import verdict_name, verdict_text
    from isoform.text import outward_float

    source, target = (api.read(file, batch=batch) for file in files)
    claim = api.claim_about(source, target, **said)
    rows, record = exported(wanted, lambda to: api.export_claim(source, target, claim, to))
    verdict, more, foreign = replayed(source, target, claim, wanted)
    if verdict is None:
        with Progress() as progress:
            verdict = api.prove(
                target, equal_to=source, timeout=wanted.timeout, seed=wanted.seed,
                reporter=progress, workers=wanted.workers, state=wanted.state, **said,
            )
        note_interrupt(verdict, wanted)
    answer = api.answer_of(source, target, verdict)
    last, written = saved(verdict, wanted, answer.save_assignment)
    seen, measurement = measured(answer)
    differing = api.signatures_apart(source, target)
    errors = api.errors_of(source, target, claim)
    how = api.claim_rows(source, target, claim, errors)
    parting = api.parting_of(source, target, verdict, wanted.seed) if explain else None
    rows = [*seen, *how, *last, *([("note", differing)] if differing else []), *rows, *more]
    emit(
        verdict_record(verdict)
        | {"source": model_record(source), "target": model_record(target), "note": differing}
        | written | record | foreign | measurement
        | {"rounding_errors": errors and [outward_float(error, up=True) for error in errors],
           "parting": None if parting is None else parting_record(parting)},
        verdict_text(verdict, after=rows)
        + ("" if parting is None else f"\n{parting_text(parting)}"), as_json,
    )
    return STATUS[verdict_name(verdict)]
