# SPDX-License-Identifier: Apache-2.0
"""The public names, and what the functions behind them promise."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import isoform as iso
from isoform import api
from isoform.forms import FORMS

PUBLIC = [
    "Affine", "Binary", "Box", "CertificateRejected", "Claim", "ContractBroken", "Conversion",
    "Convolutional", "DomainError", "Equal", "Everywhere", "Exact", "FeedForward", "FiniteSet",
    "FormatError", "IsoformError", "Layered", "Limit", "LinearRegions", "Model", "Network",
    "NoRoute", "NotInClass", "Plan", "Polytope", "Proved", "Refused", "Refuted", "RegionCount",
    "Reporter", "SameDecision", "Sequences", "Size", "TooLarge", "Undecided", "Union",
    "UnsupportedModel", "Within", "__version__", "assert_equal", "atlas", "check",
    "convert", "deliver", "domain", "evaluate", "evaluate_exact", "plan", "prove",
    "prove_property", "read",
    "regions", "report", "to_torch", "write",
]


def layers(folder: Path, name: str = "net.npz", seed: int = 0) -> Path:
    """A 2-4-1 ReLU network as a plain layer list."""
    random = np.random.default_rng(seed)
    path = folder / name
    np.savez(path, W0=random.normal(size=(4, 2)).astype(np.float32),
             b0=np.ones(4, dtype=np.float32),
             W1=random.normal(size=(1, 4)).astype(np.float32), b1=np.zeros(1, dtype=np.float32))
    return path


# --- the package ------------------------------------------------------------------------------


def test_public_names_are_frozen() -> None:
    assert sorted(iso.__all__) == sorted(PUBLIC)
    assert dir(iso) == sorted(PUBLIC)
    for name in PUBLIC:
        assert getattr(iso, name) is not None


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = iso.nonsense


def in_fresh_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_function_wins_over_the_room_of_the_same_name() -> None:
    code = ("import isoform.plan.route, isoform.report.tables, isoform as iso\n"
            "print(callable(iso.plan), callable(iso.report), isoform.plan is iso.plan)")
    assert in_fresh_python(code) == "True True True"


def test_import_is_light() -> None:
    heavy = "numpy, scipy, onnx, onnxruntime, torch, numba, flint, rich"
    code = (f"import isoform, sys; print([m for m in '{heavy}'.split(', ') if m in sys.modules])")
    assert in_fresh_python(code) == "[]"


def test_the_functions_do_not_load_frameworks() -> None:
    heavy = "scipy, onnx, onnxruntime, torch, numba, sklearn, rich"
    code = (f"import isoform.api, sys; "
            f"print([m for m in '{heavy}'.split(', ') if m in sys.modules])")
    assert in_fresh_python(code) == "[]"


# --- read ---------------------------------------------------------------------------------------


def test_read_passes_models_networks_and_forms_through(tmp_path: Path) -> None:
    model = iso.read(layers(tmp_path))
    assert iso.read(model) is model
    assert iso.read(model.network).network == model.network
    assert iso.read(model.form).form is model.form


@pytest.mark.parametrize("target", FORMS)
def test_a_form_comes_back_from_its_native_file(target: type, tmp_path: Path) -> None:
    form = target.examples()[0]
    made = iso.convert(form, to=iso.read(form).form_name)
    delivery = iso.deliver(made, tmp_path / "form.npz")
    assert iso.read(delivery.path).form == made.form
    assert isinstance(delivery.verdict, iso.Proved)
    assert delivery.verdict.claim.relation == iso.Equal()


@pytest.mark.parametrize("name, hint", [
    ("net.pt", "torch.nn.Module"), ("net.pkl", "pickle"), ("net.h5", "ONNX"), ("net.txt", ".onnx"),
])
def test_read_refuses_other_files_with_a_hint(name: str, hint: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(iso.FormatError, match=hint):
        iso.read(tmp_path / name)


def test_read_refuses_other_objects() -> None:
    with pytest.raises(iso.UnsupportedModel, match="object of type dict"):
        iso.read({"weights": 1})


# --- convert, deliver, prove, check -------------------------------------------------------------


def test_the_river_from_file_to_checked_certificate(tmp_path: Path) -> None:
    source = iso.read(layers(tmp_path))
    plan = iso.plan(source, to="convolutional", on=iso.Box(-1, 1))
    made = iso.convert(source, plan)
    delivery = iso.deliver(made, tmp_path / "out.onnx")
    assert isinstance(delivery.verdict, iso.Proved)
    assert delivery.certificate == tmp_path / "out.onnx.certificate.json"
    accepted = iso.check(delivery.certificate, source=tmp_path / "net.npz", target=delivery.path)
    assert accepted.compared and accepted.holds
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "net.npz", "out.onnx", "out.onnx.certificate.json"
    ]


def test_the_certificate_of_another_file_is_rejected(tmp_path: Path) -> None:
    delivery = iso.deliver(iso.convert(iso.read(layers(tmp_path)), to="layered"),
                           tmp_path / "out.onnx")
    other = layers(tmp_path, "other.npz", seed=1)
    with pytest.raises(iso.CertificateRejected, match="sha256"):
        iso.check(delivery.certificate, source=other)


def test_prove_refutes_with_a_witness_that_evaluates_differently(tmp_path: Path) -> None:
    one, two = iso.read(layers(tmp_path)), iso.read(layers(tmp_path, "two.npz", seed=1))
    verdict = iso.prove(two, equal_to=one, on=iso.Box(-1, 1))
    assert isinstance(verdict, iso.Refuted)
    at = verdict.witness.point
    assert iso.evaluate_exact(one.network, at) != iso.evaluate_exact(two.network, at)


def test_the_notebook_takes_models_arrays_and_verdicts(tmp_path: Path) -> None:
    model = iso.read(layers(tmp_path))
    points = np.array([[0.5, -1.0], [0.25, 2.0]], dtype=np.float32)
    assert np.allclose(iso.evaluate(model, points), iso.evaluate(model.network, points.tolist()))
    third = iso.evaluate_exact(model, [Fraction(1, 3), Fraction(0)])
    assert isinstance(third, iso.Exact) and third.denominator % 3 == 0
    assert iso.evaluate_exact(model, points.T).shape == (1, 2)
    for domain in (iso.FiniteSet(points), iso.FiniteSet([[0, 1], [Fraction(1, 3), 2]]),
                   iso.Polytope(np.ones((1, 2)), np.ones(1), iso.Box(0, 1)),
                   iso.Union((iso.Box([0, 0], [1, 1]), iso.Box([2, 2], [3, 3])))):
        verdict = iso.prove(model, equal_to=model, on=domain)
        assert iso.check(verdict).holds
        assert len(repr(domain)) < 100
    iso.write(model, tmp_path / "copy.onnx", certificate=verdict)


def test_wrong_arguments_are_refused_in_words(tmp_path: Path) -> None:
    model = iso.read(layers(tmp_path))
    undecided = iso.Undecided(claim=iso.Claim(iso.Equal()), lower=Fraction(0), upper=None,
                              reason="test")
    for call, error, words in (
        (lambda: iso.evaluate(model, np.zeros((4, 5))), iso.Refused, "takes 2 inputs.* have 5"),
        (lambda: iso.evaluate_exact(model, [1]), iso.Refused, "takes 2 inputs"),
        (lambda: iso.plan(model, to="affine", on=(-1, 1)), iso.DomainError, "write Box"),
        (lambda: iso.plan(model, to="affine", limit=10), iso.Refused, r"Limit\(units=10\)"),
        (lambda: iso.deliver(model, tmp_path / "o.onnx"), iso.Refused, "what convert made"),
        (lambda: iso.check(undecided), iso.Refused, "has no certificate"),
    ):
        with pytest.raises(error, match=words):
            call()


def test_prove_within_takes_exact_decimals(tmp_path: Path) -> None:
    one, two = iso.read(layers(tmp_path)), iso.read(layers(tmp_path, "two.npz", seed=1))
    verdict = iso.prove(two, equal_to=one, on="box:-1,1", within="100")
    assert isinstance(verdict, iso.Proved)
    assert verdict.claim.relation == iso.Within(Fraction(100))


@pytest.mark.parametrize("eps", ["-1", "nan", "small", float("inf"), None.__class__])
def test_prove_refuses_a_bad_eps(eps: object, tmp_path: Path) -> None:
    model = iso.read(layers(tmp_path))
    with pytest.raises(iso.Refused, match="eps"):
        iso.prove(model, equal_to=model, within=eps)


def test_a_refuted_result_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that changes a weight is caught by the proof on the written bytes."""
    from isoform.api import delivery as room
    from isoform.network.rounding import rounded

    def wrong(network: iso.Network, dtype: str, exact: bool | None) -> room.Prepared:
        forged = iso.read(layers(tmp_path, "forged.npz", seed=5)).network
        return room.Prepared(network=rounded(forged, dtype), dtype=dtype)

    monkeypatch.setattr(room, "prepare", wrong)
    made = iso.convert(iso.read(layers(tmp_path)), to="feed-forward", on=iso.Box(-1, 1))
    with pytest.raises(iso.ContractBroken, match="refuted"):
        iso.deliver(made, tmp_path / "out.onnx")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["forged.npz", "net.npz"]


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    class Impatient(iso.Reporter):
        def proving(self, claim: str) -> None:
            raise KeyboardInterrupt

    made = iso.convert(iso.read(layers(tmp_path)), to="feed-forward")
    with pytest.raises(KeyboardInterrupt):
        iso.deliver(made, tmp_path / "out.onnx", reporter=Impatient())
    assert [p.name for p in tmp_path.iterdir()] == ["net.npz"]


def test_a_plan_of_another_model_is_refused(tmp_path: Path) -> None:
    one, two = layers(tmp_path), layers(tmp_path, "two.npz", seed=1)
    with pytest.raises(iso.Refused, match="another model"):
        iso.convert(two, iso.plan(one, to="layered"))


def test_write_and_report(tmp_path: Path) -> None:
    model = iso.read(layers(tmp_path))
    made = iso.convert(model, to="convolutional", on="box:-1,1")
    path = iso.write(made, tmp_path / "out.onnx", like=model)
    assert iso.prove(path, equal_to=model).claim.relation == iso.Equal()
    page = iso.report(made, iso.prove(made, equal_to=model))
    text = page.save(tmp_path / "page.html").read_text()
    assert "verdict" in text and "<script" not in text
    assert "proved" in str(page)


# --- domains as text ------------------------------------------------------------------------------


def test_domains_are_exact() -> None:
    box = iso.domain("box:0.1,1/3,3.5")
    assert box.low.fractions() == [Fraction(1, 10), Fraction(3)]
    assert iso.domain("everywhere") == iso.Everywhere()
    assert iso.domain("binary") == iso.Binary()


def test_domains_from_files(tmp_path: Path) -> None:
    np.save(tmp_path / "c.npy", np.array([0.5, -1.0]))
    ball = iso.domain(f"ball:{tmp_path / 'c.npy'},0.1")
    assert ball.low.fractions() == [Fraction(2, 5), Fraction(-11, 10)]
    points = iso.domain(f"points:{tmp_path / 'c.npy'}")
    assert points.dimension == 2
    np.savez(tmp_path / "b.npz", low=np.zeros(3), high=np.ones(3))
    assert iso.domain(f"npz:{tmp_path / 'b.npz'}").dimension == 3


@pytest.mark.parametrize("text, words", [
    ("box:1,-1", "empty"), ("box:nan,1", "nan"), ("box:0,inf", "inf"), ("box:0", "LOW,HIGH"),
    ("box:", "LOW,HIGH"), ("circle:1", "no domain"), ("ball:1", "CENTRE"), ("", "no domain"),
    ("binary:3", "no domain"), ("box:0,1/2", "part 2"),
])
def test_bad_domains_say_why(text: str, words: str) -> None:
    with pytest.raises(iso.DomainError, match=words):
        iso.domain(text)


def test_a_hostile_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(iso.DomainError, match="no readable"):
        iso.domain(f"points:{tmp_path / 'objects.npy'}")
    np.save(tmp_path / "short.npy", np.zeros((10, 10)))
    data = (tmp_path / "short.npy").read_bytes()
    (tmp_path / "short.npy").write_bytes(data[:-100])
    with pytest.raises(iso.DomainError, match="no readable"):
        iso.domain(f"points:{tmp_path / 'short.npy'}")
    with pytest.raises(FileNotFoundError):
        iso.domain(f"points:{tmp_path / 'absent.npy'}")
    np.save(tmp_path / "none.npy", np.zeros((0, 2)))
    with pytest.raises(iso.DomainError, match="no points"):
        iso.domain(f"points:{tmp_path / 'none.npy'}")


# --- destinations -------------------------------------------------------------------------------


def test_destinations_are_checked_before_any_work(tmp_path: Path) -> None:
    path = layers(tmp_path)
    model = iso.read(path)
    for name, words in [
        ("absent/out.onnx", "does not exist"), ("out.pt", "pickle"), ("out.txt", "cannot write"),
        ("net.npz", "the source itself"),
    ]:
        with pytest.raises(iso.Refused, match=words):
            api.check_destination(tmp_path / name, model)
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(iso.Refused, match="is a folder"):
        api.check_destination(tmp_path / "folder.onnx", model)


def test_an_eps_below_the_rounding_is_refused_not_called_a_bug(tmp_path: Path) -> None:
    from isoform.cli.demo import MODELS

    made = iso.convert(iso.read(MODELS / "adapter.onnx"), to="affine", on=iso.Box(-1, 1))
    with pytest.raises(iso.Refused, match="beyond the eps of 1e-15.*--exact"):
        iso.deliver(made, tmp_path / "out.onnx", within=Fraction(1, 10**15))
    assert list(tmp_path.iterdir()) == []


def test_a_certificate_never_takes_the_place_of_another_file(tmp_path: Path) -> None:
    source = layers(tmp_path)
    (tmp_path / "net.bin").write_bytes(b"the weights of another model")
    made = api.convert(source, to="convolutional")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for place, words in (("net.npz", "ends in .json"), ("out.npz", "ends in .json"),
                         ("net.json", "which is another file")):
        with pytest.raises(iso.Refused, match=words):
            api.deliver(made, tmp_path / "out.npz", certificate=tmp_path / place)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_certificate_needs_its_folder_before_any_work(tmp_path: Path) -> None:
    made = iso.convert(iso.read(layers(tmp_path)), to="layered")
    with pytest.raises(iso.Refused, match="does not exist"):
        iso.deliver(made, tmp_path / "out.onnx", certificate=tmp_path / "absent" / "c.json")
    assert [p.name for p in tmp_path.iterdir()] == ["net.npz"]


def test_a_module_and_an_estimator_are_read() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    model = iso.read(module.eval())
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    assert np.allclose(iso.evaluate(model.network, x), module(torch.tensor(x)).detach().numpy(),
                       atol=1e-6)
    sklearn = pytest.importorskip("sklearn.linear_model")
    fitted = sklearn.LinearRegression().fit(x.astype(np.float64), x[:, 0])
    assert iso.read(fitted).form_name == "affine"


@pytest.mark.parametrize("on", ["everywhere", "box:-1,1"])
@pytest.mark.parametrize("exact", [False, True])
def test_write_carries_a_certificate_over_to_the_file(
    on: str, exact: bool, tmp_path: Path
) -> None:
    from isoform.cli.demo import MODELS

    model = iso.read(MODELS / "adapter.onnx")
    made = iso.convert(model, to="affine", on=on)
    proof = iso.prove(made.network, equal_to=model, on=made.plan.domain)
    assert isinstance(proof, iso.Proved)
    path = iso.write(made.network, tmp_path / "out.onnx", certificate=proof.certificate,
                     exact=exact)
    accepted = iso.check(f"{path}.certificate.json", source=model, target=path)
    assert accepted.compared and accepted.holds
    rounded = not exact and on != "everywhere"
    assert isinstance(accepted.claim.relation, iso.Within if rounded else iso.Equal)


def test_write_refuses_a_certificate_of_something_else(tmp_path: Path) -> None:
    one, two = iso.read(layers(tmp_path)), iso.read(layers(tmp_path, "two.npz", seed=1))
    proof = iso.prove(one, equal_to=one)
    with pytest.raises(iso.Refused, match="not proved of the file"):
        iso.write(two, tmp_path / "out.onnx", certificate=proof.certificate)
    assert not (tmp_path / "out.onnx").exists()
