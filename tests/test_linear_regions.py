# SPDX-License-Identifier: Apache-2.0
"""The public function `regions`, from a model to a checked count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import isoform as iso
from isoform.certificate.certificate import Certificate, save
from isoform.errors import CertificateRejected, DomainError, Refused, UnsupportedModel
from isoform.network.domain import Polytope


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A 2-6-5-1 network with two equal and two opposite units."""
    random = np.random.default_rng(4)
    W0, b0 = random.normal(size=(6, 2)), random.normal(size=6) / 2
    W0[1], b0[1] = W0[0], b0[0]
    W0[3], b0[3] = -W0[2], -b0[2]
    path = tmp_path / "small.npz"
    np.savez(path, W0=W0, b0=b0, W1=random.normal(size=(5, 6)), b1=random.normal(size=5) / 2,
             W2=random.normal(size=(1, 5)), b2=np.zeros(1))
    return path


def test_count_is_proved_and_the_certificate_can_be_checked(small: Path, tmp_path: Path) -> None:
    found = iso.regions(small, on="box:-1,1")
    assert found.complete and found.verdict == "proved"
    assert isinstance(found.certificate, Certificate)
    save(found.certificate, tmp_path / "c.json")
    accepted = iso.check(tmp_path / "c.json", source=small)
    assert accepted.holds and accepted.compared
    assert f"exactly {found.count}" in accepted.statement


def test_certificate_of_another_network_is_rejected(small: Path, tmp_path: Path) -> None:
    found = iso.regions(small, on="box:-1,1")
    arrays = dict(np.load(small))
    arrays["W1"][0, 0] = np.nextafter(arrays["W1"][0, 0], 9)
    np.savez(tmp_path / "other.npz", **arrays)
    with pytest.raises(CertificateRejected, match="sha256"):
        iso.check(found.certificate, source=tmp_path / "other.npz")


def test_certificate_with_another_count_is_rejected(small: Path, tmp_path: Path) -> None:
    found = iso.regions(small, on="box:-1,1")
    assert found.certificate is not None
    relation = iso.RegionCount(found.count + 1)
    claim = replace(found.certificate.claim, relation=relation)
    with pytest.raises(CertificateRejected, match="the claim is exactly"):
        iso.check(replace(found.certificate, claim=claim))


def test_kinds_in_their_order(bench: Path) -> None:
    """Affine pieces are the fewest, then connected regions, then activation regions."""
    path = bench / "regions" / "degQuant_s0.npz"
    counts = {
        kind: iso.regions(path, on="box:-1,1", kind=kind).count
        for kind in ("affine", "connected", "activation")
    }
    assert counts == {"affine": 41, "connected": 42, "activation": 91}


def test_slice_is_the_restriction(small: Path) -> None:
    """Along a line, the regions are those that a segment meets."""
    a, b = np.array([-0.75, 0.5]), np.array([0.875, -0.25])
    found = iso.regions(small, on="box:0,1", slice_through=[a, b])
    assert found.verdict == "proved"
    assert found.count == len(iso.regions(small, on="box:-1,1").along(a, b))


def test_everywhere_has_at_least_the_box(small: Path) -> None:
    everywhere = iso.regions(small, on="everywhere")
    assert everywhere.verdict == "proved"
    assert everywhere.count >= iso.regions(small, on="box:-1000,1000").count


def test_polytope_is_proved(small: Path) -> None:
    domain = Polytope(iso.Exact.of([[1, 1]]), iso.Exact.of([0]), iso.Box(-1, 1))
    half = iso.regions(small, on=domain)
    assert half.verdict == "proved"
    assert half.count < iso.regions(small, on="box:-1,1").count


def test_region_of_a_point(small: Path) -> None:
    found = iso.regions(small, on="box:-1,1")
    point = [0.25, -0.5]
    region = found.at(point)
    value = iso.evaluate_exact(iso.read(small), iso.Exact.of(np.array(point)))
    affine = region.affine @ iso.Exact.of(np.array([1.0, *point]))
    assert affine == value
    patterns = {row.tobytes() for row in found.listed().patterns}
    assert region.pattern in patterns


def test_neighbours_ball_and_volumes(small: Path) -> None:
    found = iso.regions(small, on="box:-1,1")
    patterns = {row.tobytes() for row in found.listed().patterns}
    region = found.at([0.25, -0.5])
    beside = found.neighbours(region)
    assert len(beside) == sum(not facet.boundary for facet in region.facets)
    assert {other.pattern for other in beside} <= patterns - {region.pattern}
    ball = found.within([0.25, -0.5], 0.125)
    inner = iso.regions(small, on="box:0.125,0.375/-0.625,-0.375")
    expected = {row.tobytes() for row in inner.listed().patterns}
    assert {row.tobytes() for row in ball.patterns} == expected
    assert np.isclose(found.volumes().sum(), 4.0)


def test_budget_gives_a_certified_lower_bound(bench: Path) -> None:
    path = bench / "regions" / "3-32-32-1_s0.npz"
    found = iso.regions(path, on="box:-1,1", budget={"regions": 200}, workers=1)
    assert not found.complete and 200 <= found.count < 21980
    assert found.verdict is None
    assert found.checked is not None and "at least" in found.checked.statement
    with pytest.raises(Refused, match="complete list"):
        iso.regions(path, on="box:-1,1", budget={"regions": 200}, kind="connected", workers=1)


def test_bare_count_and_its_audit(bench: Path) -> None:
    path = bench / "regions" / "4-16-16-1_s0.npz"
    found = iso.regions(path, on="box:-1,1", listed=False, audit=0.05, seed=3, workers=1)
    again = iso.regions(path, on="box:-1,1", listed=False, audit=0.05, seed=3, workers=2)
    assert found.count == again.count == 21182 and found.verdict is None
    assert found.audited is not None and again.audited is not None
    assert found.audited.streams == again.audited.streams > 0
    assert np.array_equal(found.audited.patterns, again.audited.patterns)
    with pytest.raises(Refused, match="counted, not listed"):
        found.listed()


def test_picture_and_lists(small: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = iso.regions(small, on="box:-1,1")
    found.save(tmp_path / "r.png")
    assert (tmp_path / "r.png").read_bytes()[:4] == b"\x89PNG"
    found.save(tmp_path / "r.npz")
    held = np.load(tmp_path / "r.npz")
    assert len(held["patterns"]) == found.count and bool(held["complete"])
    inputs = held["points"]
    values = held["maps"][:, :, 0] + np.einsum("rmd,rd->rm", held["maps"][:, :, 1:], inputs)
    assert np.allclose(values, iso.evaluate(iso.read(small), inputs), atol=1e-12)


def test_refusals(small: Path, tmp_path: Path) -> None:
    with pytest.raises(DomainError, match="flat"):
        iso.regions(small, on="box:0,0/0,1")
    with pytest.raises(Refused, match="no kind"):
        iso.regions(small, on="box:-1,1", kind="convex")
    with pytest.raises(DomainError, match="dependent"):
        iso.regions(small, on="box:0,1", slice_through=[[0.5, 0.5], [0.5, 0.5]])
    with pytest.raises(Refused, match="bare count"):
        iso.regions(small, on="box:-1,1", listed=False, prove=True)
    with pytest.raises(Refused, match="share from 0 to 1"):
        iso.regions(small, on="box:-1,1", audit=0.5)
    with pytest.raises(Refused, match="2 dimensions|picture"):
        iso.regions(small, on="everywhere").save(tmp_path / "r.png")
    assert not (tmp_path / "r.png").exists()


def test_smooth_network_is_refused(models: Path) -> None:
    with pytest.raises(UnsupportedModel, match="sigmoid"):
        iso.regions(models / "feedforward" / "mnist2x5_sigmoid.onnx", on="box:0,1")


@pytest.mark.parametrize("name", [
    "feedforward/mnist2x10.onnx", "feedforward/mnist5x20_leaky_relu.onnx",
    "feedforward/KJ_TinyTaxiNet.onnx",
])
def test_slices_of_real_networks(models: Path, name: str) -> None:
    """Leaky units, convolutions, pooling: the count is proved, and every random point's pattern is
    listed."""
    model = iso.read(models / name)
    random = np.random.default_rng(1)
    corners = random.integers(0, 2, size=(3, model.network.dimension)).astype(float)
    found = iso.regions(model, on="box:0,1", slice_through=corners)
    assert found.verdict == "proved"
    patterns = {row.tobytes() for row in found.listed().patterns}
    for point in random.uniform(0, 1, (20, 2)):
        region = found.at(point)
        assert region.pattern in patterns
        inside = corners[0] + point @ (corners[1:] - corners[0])
        expected = iso.evaluate(model, inside[None])[0]
        affine = region.affine.to_float() @ np.array([1.0, *point])
        assert np.allclose(affine, np.ravel(expected), rtol=1e-4, atol=1e-4)


def test_acas_ball(models: Path) -> None:
    path = models / "acasxu" / "ACASXU_run2a_1_1_batch_2000.onnx"
    found = iso.regions(path, on="box:-0.02,0.02")
    assert found.verdict == "proved" and found.count == 971
