# SPDX-License-Identifier: Apache-2.0
"""The architecture classes, the narrowest first: a model is shown as the first that takes it."""

from __future__ import annotations

import re

from isoform.forms.affine import Affine
from isoform.forms.convolutional import Convolutional
from isoform.forms.feed_forward import FeedForward
from isoform.forms.layered import Layered

FORMS: tuple[type, ...] = (Affine, Convolutional, FeedForward, Layered)


def form_name(cls: type) -> str:
    """The name of a form as in the command line: FeedForward is `feed-forward`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__).lower()
