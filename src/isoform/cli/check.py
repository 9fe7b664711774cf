# SPDX-License-Identifier: Apache-2.0
"""`isoform check`: re-derive what a certificate claims."""

from __future__ import annotations

from typing import Any

import rich_click as click

from isoform.cli.output import DONE, REJECTED, common, emit
from isoform.errors import CertificateRejected


@click.command()
@click.argument("certificate")
@click.option("--source", metavar="A", help="The source file, to be compared with the certificate.")
@click.option("--target", metavar="B", help="The target file, to be compared with the certificate.")
@click.option("--grade", type=click.Choice(["exact", "fixed", "float-outward"]), default="exact",
              show_default=True, help="The weakest arithmetic that is accepted.")
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", default=1, show_default=True,
              help="Processes for certificates of splitting trees.")
@common
def check(
    certificate: str, source: str | None, target: str | None, grade: str, jobs: int,
    as_json: bool, debug: bool,
) -> int:
    """Re-derive CERTIFICATE in exact arithmetic. Status 0 accepted, 1 rejected."""
    from isoform import api
    from isoform.text import columns, outward_float

    try:
        accepted = api.check(certificate, source=source, target=target, grade=grade, jobs=jobs)
    except CertificateRejected as error:
        record: dict[str, Any] = {
            "accepted": False, "verdict": None, "item": error.item, "reason": str(error),
            "certificate": certificate,
        }
        emit(record, columns([("certificate", "REJECTED"), ("why", str(error))], indent=0), as_json)
        return REJECTED
    verdict = "proved" if accepted.holds else "refuted"
    compared = "yes" if accepted.compared else "no; give --source and --target to compare files"
    rows = [
        ("certificate", "accepted"), ("verdict", verdict), ("statement", accepted.statement),
        ("grade", accepted.grade), ("files compared", compared),
        ("seconds", f"{accepted.seconds:.2f}"),
    ]
    record = {
        "accepted": True, "verdict": verdict, "claim": str(accepted.claim),
        "statement": accepted.statement, "arithmetic": accepted.claim.arithmetic.value,
        "grade": accepted.grade, "upper": outward_float(accepted.upper, up=True),
        "compared": accepted.compared, "certificate": certificate,
        "seconds": round(accepted.seconds, 3),
    }
    emit(record, columns(rows, indent=0), as_json)
    return DONE
