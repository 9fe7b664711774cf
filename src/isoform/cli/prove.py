# SPDX-License-Identifier: Apache-2.0
"""`isoform prove`: are two files the same function?"""

from __future__ import annotations

import rich_click as click

from isoform.cli.output import (
    STATUS,
    Batch,
    batch_option,
    common,
    emit,
    model_record,
    verdict_record,
)


@click.command()
@click.argument("a")
@click.argument("b")
@click.option("--on", metavar="DOMAIN", default="everywhere", show_default=True,
              help="Where the claim is to hold.")
@click.option("--within", metavar="EPS",
              help="Ask for |A - B| <= EPS in every output, instead of equality.")
@click.option("--same-decision", is_flag=True, help="Ask whether A and B prefer the same output.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="S",
              help="Seconds for the search of a counterexample.")
@click.option("--certificate", metavar="FILE", help="Where to write the certificate.")
@click.option("--seed", type=int, default=0, hidden=True)
@batch_option
@common
def prove(
    a: str, b: str, on: str, within: str | None, same_decision: bool, timeout: float | None,
    certificate: str | None, seed: int, batch: Batch, as_json: bool, debug: bool,
) -> int:
    """Decide whether B equals A on DOMAIN. Exit status 0 only for a proof."""
    from isoform import api
    from isoform.cli.progress import Progress
    from isoform.report.tables import verdict_name, verdict_text

    if certificate is not None:
        api.check_certificate_path(certificate)
    source, target = api.read(a, batch=batch), api.read(b, batch=batch)
    with Progress() as progress:
        verdict = api.prove(
            target, equal_to=source, on=on, within=within, same_decision=same_decision,
            timeout=timeout, seed=seed, reporter=progress,
        )
    held = api.certificate_of(verdict)
    text = verdict_text(verdict)
    written = None
    if certificate is not None and held is not None:
        written = certificate
        api.save(held, certificate)
        text += f"\ncertificate         {certificate}"
    record = verdict_record(verdict) | {
        "source": model_record(source), "target": model_record(target), "certificate": written,
    }
    emit(record, text, as_json)
    return STATUS[verdict_name(verdict)]
