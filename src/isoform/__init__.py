# SPDX-License-Identifier: Apache-2.0
"""isoform: one function, many forms. Rewrite a trained network, and prove it unchanged.

Public names are imported when they are first used, so that `import isoform` stays quick.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from isoform.version import VERSION as __version__

API = "isoform.api"
DOMAIN = "isoform.network.domain"
CLAIM = "isoform.network.claim"
VERDICT = "isoform.certificate.verdict"
ERRORS = "isoform.errors"

PUBLIC = {
    "read": API, "plan": API, "convert": API, "prove": API, "check": API, "write": API,
    "to_torch": API, "deliver": API, "report": API, "atlas": API, "domain": API,
    "prove_property": API,
    "regions": API, "assert_equal": "isoform.api.assertions",
    "Model": "isoform.forms.model", "Network": "isoform.network.network",
    "Affine": "isoform.forms", "Convolutional": "isoform.forms", "FeedForward": "isoform.forms",
    "Layered": "isoform.forms",
    "Box": DOMAIN, "Polytope": DOMAIN, "Binary": DOMAIN, "FiniteSet": DOMAIN, "Union": DOMAIN,
    "Sequences": DOMAIN, "Everywhere": DOMAIN,
    "Claim": CLAIM, "Equal": CLAIM, "Within": CLAIM, "SameDecision": CLAIM, "RegionCount": CLAIM,
    "Proved": VERDICT, "Refuted": VERDICT, "Undecided": VERDICT,
    "Limit": "isoform.network.size", "Size": "isoform.network.size",
    "Exact": "isoform.numerics.exact",
    "evaluate": API, "evaluate_exact": API,
    "Conversion": API, "LinearRegions": API, "Plan": API, "Reporter": API,
    "IsoformError": ERRORS, "UnsupportedModel": ERRORS, "NotInClass": ERRORS, "NoRoute": ERRORS,
    "TooLarge": ERRORS, "Refused": ERRORS, "ContractBroken": ERRORS,
    "CertificateRejected": ERRORS, "FormatError": ERRORS, "DomainError": ERRORS,
}
__all__ = [*PUBLIC, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module 'isoform' has no attribute {name!r}")
    value = getattr(import_module(PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


class Front(ModuleType):
    """The package itself. Some functions share their name with a room (`plan`, `report`): the
    import system sets a room as an attribute of its package, and the function is to win."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in PUBLIC and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = Front
