# SPDX-License-Identifier: Apache-2.0
"""`isoform atlas`: which class converts into which."""

from __future__ import annotations

import rich_click as click

from isoform.cli.output import DONE, common, emit


@click.command()
@click.argument("source", metavar="[FROM]", required=False)
@click.argument("target", metavar="[TO]", required=False)
@common
def atlas(source: str | None, target: str | None, as_json: bool, debug: bool) -> int:
    """The conversions between architecture classes: all, those out of FROM, or the way FROM TO."""
    from isoform import api

    found = api.atlas(source, target)
    emit(found.as_dict(), str(found), as_json)
    return DONE
