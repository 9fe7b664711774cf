# SPDX-License-Identifier: Apache-2.0
"""The command `isoform`: verbs, exit status, and errors in words.

Exit status: 0 proved, accepted or done; 1 refuted or rejected; 2 undecided; 3 error, refusal or bad
usage; 130 interrupted.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

import rich_click as click

from isoform.cli.atlas import atlas
from isoform.cli.check import check
from isoform.cli.convert import convert
from isoform.cli.demo import demo
from isoform.cli.inspect import inspect
from isoform.cli.output import DOMAINS, ERROR, INTERRUPTED, REJECTED, complain
from isoform.cli.prove import prove
from isoform.cli.regions import regions
from isoform.errors import CertificateRejected, IsoformError
from isoform.version import VERSION


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"{DOMAINS} "
    "Exit status: 0 proved, accepted or done; 1 refuted or rejected; 2 undecided; 3 error.",
)
@click.version_option(VERSION, prog_name="isoform", message="%(prog)s %(version)s")
def program() -> None:
    """One function, many forms: rewrite a trained network, and prove it unchanged."""


for verb in (inspect, convert, prove, check, regions, atlas, demo):
    program.add_command(verb)


def status(arguments: Sequence[str]) -> int:
    """Run the command line; the exit status."""
    as_json, debug = "--json" in arguments, "--debug" in arguments
    try:
        return int(program.main(list(arguments), "isoform", standalone_mode=False) or 0)
    except click.ClickException as error:
        return complain("usage", usage(error), as_json, ERROR)
    except (click.Abort, KeyboardInterrupt):
        return complain("interrupted", "interrupted; nothing was left half-written", as_json,
                        INTERRUPTED)
    except CertificateRejected as error:
        return complain("CertificateRejected", str(error), as_json, REJECTED)
    except (IsoformError, OSError) as error:
        return complain(type(error).__name__, words(error), as_json, ERROR)
    except MemoryError:
        return complain("MemoryError", "out of memory; lower --limit or give a smaller domain",
                        as_json, ERROR)
    except Exception as error:
        if debug:
            traceback.print_exc()
        return complain(
            "bug", f"a bug in isoform, please report it: {type(error).__name__}: {error} "
            "(--debug prints where)", as_json, ERROR,
        )


def usage(error: click.ClickException) -> str:
    """The message of a wrong call, with where to read more."""
    context = getattr(error, "ctx", None)
    where = "isoform" if context is None else context.command_path
    message = error.format_message()
    return f"{message}{'' if message.endswith(('.', '?')) else ';'} `{where} --help` says more"


def words(error: Exception) -> str:
    """The message of an error, an operating system's one with its file."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def main() -> None:
    """Entry point of the installed command."""
    sys.exit(status(sys.argv[1:]))
