# SPDX-License-Identifier: Apache-2.0
"""Random networks for laws that hold for all of them."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from isoform.network.linear_map import Dense
from isoform.network.network import Builder, Network
from isoform.network.operators import Concat, Relu, Select


@st.composite
def graphs(draw: st.DrawFn) -> Network:
    """Random graphs of affine maps, ReLUs, selections and concatenations."""
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    build = Builder((draw(st.integers(1, 3)),))
    values = [0]
    for kind in draw(st.lists(st.sampled_from("llrrcs"), min_size=1, max_size=9)):
        a, b = (values[int(random.integers(len(values)))] for _ in range(2))
        n = build.size_of(a)
        match kind:
            case "l":
                m = int(random.integers(1, 4))
                maps = [Dense(random.integers(-4, 5, (m, build.size_of(v))) / 4) for v in (a, b)]
                value = build.linear(maps, (a, b), random.integers(-4, 5, m) / 4)
            case "r":
                value = build.add(Relu(), (a,), n)
            case "c":
                value = build.add(Concat(), (a, b), n + build.size_of(b))
            case _:
                picked = random.integers(0, n, int(random.integers(1, 5)))
                value = build.add(Select(picked), (a,), len(picked))
        values.append(value)
    return build.build(values[-1])
