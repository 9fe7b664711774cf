# SPDX-License-Identifier: Apache-2.0
"""`isoform prove`: are two files the same function?"""

from __future__ import annotations

import rich_click as click

from isoform.cli.output import (
    DOMAINS,
    STATUS,
    Batch,
    batch_option,
    common,
    emit,
    model_record,
    note,
    verdict_record,
)


@click.command(epilog=f"{DOMAINS} Example: isoform prove before.onnx after.onnx --on box:-1,1 "
               "--within 1e-5")
@click.argument("a")
@click.argument("b")
@click.option("--on", metavar="DOMAIN", default="everywhere", show_default=True,
              help="Where the claim is to hold.")
@click.option("--within", metavar="EPS",
              help="Ask for |A - B| <= EPS in every output, instead of equality: one number, one "
                   "for each output (1e-3,1e-2,...), or an .npy file of them.")
@click.option("--same-decision", is_flag=True, help="Ask whether A and B prefer the same output.")
@click.option("--margin", metavar="M",
              help="With --same-decision: only where A prefers its output by M or more.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="S",
              help="Seconds for the search of a counterexample.")
@click.option("--certificate", metavar="FILE", help="Where to write the certificate.")
@click.option("--seed", type=int, default=0, hidden=True)
@batch_option
@common
def prove(
    a: str, b: str, on: str, within: str | None, same_decision: bool, margin: str | None,
    timeout: float | None,
    certificate: str | None, seed: int, batch: Batch, as_json: bool, debug: bool,
) -> int:
    """Decide whether B equals A on DOMAIN. Exit status 0 only for a proof."""
    from isoform import api
    from isoform.cli.progress import Progress
    from isoform.report.tables import verdict_name, verdict_text

    if margin is not None and not same_decision:
        raise click.UsageError("--margin belongs to --same-decision")
    decision = api.epsilon(margin) if margin is not None else same_decision
    if certificate is not None:
        api.check_certificate_path(certificate)
    source, target = api.read(a, batch=batch), api.read(b, batch=batch)
    with Progress() as progress:
        verdict = api.prove(
            target, equal_to=source, on=on, within=within, same_decision=decision,
            timeout=timeout, seed=seed, reporter=progress,
        )
    held = api.certificate_of(verdict)
    text = verdict_text(verdict)
    written = None
    if certificate is not None and held is not None:
        written = certificate
        api.save(held, certificate)
        text += f"\ncertificate         {certificate}"
    differing = api.signatures_apart(source, target)
    if differing:
        text += f"\nnote                {differing}"
    record = verdict_record(verdict) | {
        "source": model_record(source), "target": model_record(target), "certificate": written,
        "note": differing,
    }
    emit(record, text, as_json)
    if certificate is not None and held is None:
        note(f"{certificate} was not written: an undecided claim has no certificate")
    return STATUS[verdict_name(verdict)]
