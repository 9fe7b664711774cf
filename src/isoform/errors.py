# SPDX-License-Identifier: Apache-2.0
"""The error tree. A message says what happened with names and numbers, why, and what to do.

`Refuted` and `Undecided` verdicts are values, not errors.
"""

from __future__ import annotations

from collections.abc import Sequence


class IsoformError(Exception):
    """Root of every error that isoform raises on purpose."""


class FormatError(IsoformError):
    """A file is damaged, hostile, or not what its name says."""


class UnsupportedModel(IsoformError):
    """A model uses parts that isoform does not take; `reasons` lists *all* of them."""

    def __init__(self, what: str, reasons: Sequence[str]):
        self.reasons = tuple(reasons)
        listed = "".join(f"\n  - {reason}" for reason in self.reasons)
        super().__init__(f"{what}: {len(self.reasons)} unsupported part(s){listed}")


class DomainError(IsoformError):
    """A domain is empty, malformed, or of the wrong dimension."""


class NotInClass(IsoformError):
    """A network is not in the asked architecture class; the message names the first obstacle."""


class NoRoute(IsoformError):
    """No admissible sequence of converters leads to the asked form."""


class TooLarge(IsoformError):
    """A predicted or actual size is beyond the limit."""


class Refused(IsoformError):
    """A converter or a prover declines the input, with its reason."""


class ContractBroken(IsoformError):
    """A converter of ours broke its promise: a bug in isoform, not in the user's model."""

    def __init__(self, culprit: str, what: str):
        self.culprit = culprit
        super().__init__(f"a bug in {culprit}, please report it: {what}")


class CertificateRejected(IsoformError):
    """The checker does not accept a certificate; `item` is the first failing item."""

    def __init__(self, item: str, why: str):
        self.item = item
        self.why = why
        super().__init__(f"certificate rejected at {item}: {why}")
