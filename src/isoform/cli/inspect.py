# SPDX-License-Identifier: Apache-2.0
"""`isoform inspect`: what a model is."""

from __future__ import annotations

import rich_click as click

from isoform.cli.output import DOMAINS, DONE, Batch, batch_option, common, emit, model_record


@click.command(epilog=DOMAINS)
@click.argument("model")
@click.option("--on", metavar="DOMAIN", help="Count the units that are stable on this domain.")
@batch_option
@common
def inspect(model: str, on: str | None, batch: Batch, as_json: bool, debug: bool) -> int:
    """Form, size, operators and exactness of MODEL, and why it is not in a narrower class."""
    from isoform import api

    held = api.read(model, batch=batch)
    facts = api.inspection(held, None if on is None else api.domain(on))
    record = {"source": model_record(held), **facts.as_dict()}
    emit(record, str(facts), as_json)
    return DONE
