# SPDX-License-Identifier: Apache-2.0
"""scikit-learn estimators, VNN-LIB boxes, .nnet files."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoform.errors import (
    DomainError,
    FormatError,
    IsoformError,
    NotInClass,
    Refused,
    TooLarge,
    UnsupportedModel,
)
from isoform.formats.nnet import Normalisation, read_nnet, write_nnet
from isoform.formats.sklearn import read_sklearn
from isoform.formats.vnnlib import read_box
from isoform.network.domain import Box, Union
from isoform.network.evaluate import evaluate
from isoform.network.linear_map import Dense
from isoform.network.network import Builder
from isoform.network.operators import Relu, Step

# --- scikit-learn ---------------------------------------------------------------------------------

RNG = np.random.default_rng(5)
X = RNG.normal(size=(60, 4)) * 3 + 1
Y = np.sin(X[:, 0]) + X[:, 1]
TWO, THREE = (Y > 0.5).astype(int), np.digitize(Y, [0.0, 1.5])
LABELS = np.stack([TWO, 1 - TWO, (X[:, 2] > 0).astype(int)], axis=1)


def estimators() -> dict[str, tuple[Any, np.ndarray, str]]:
    """Estimator, target, and the method that is the meaning."""
    from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler
    from sklearn.svm import LinearSVC

    def mlp(kind: Any, **options: Any) -> Any:
        return kind(hidden_layer_sizes=(5, 3), max_iter=5, random_state=0, **options)

    cases = {
        f"regressor {name}": (mlp(MLPRegressor, activation=name), Y, "predict")
        for name in ("relu", "tanh", "logistic", "identity")
    }
    return cases | {
        "several outputs": (mlp(MLPRegressor), np.stack([Y, -Y], axis=1), "predict"),
        "two classes": (mlp(MLPClassifier), TWO, "predict_proba"),
        "three classes": (mlp(MLPClassifier), THREE, "predict_proba"),
        "labels": (mlp(MLPClassifier), LABELS, "predict_proba"),
        "linear": (LinearRegression(), Y, "predict"),
        "no intercept": (LinearRegression(fit_intercept=False), Y, "predict"),
        "ridge": (Ridge(), np.stack([Y, -Y], axis=1), "predict"),
        "logistic": (LogisticRegression(), TWO, "decision_function"),
        "logistic, three": (LogisticRegression(), THREE, "decision_function"),
        "svc": (LinearSVC(), THREE, "decision_function"),
        "standard": (make_pipeline(StandardScaler(), mlp(MLPRegressor)), Y, "predict"),
        "no mean": (make_pipeline(StandardScaler(with_mean=False), Ridge()), Y, "predict"),
        "min max": (
            make_pipeline(MinMaxScaler((-1, 1), clip=True), "passthrough", mlp(MLPClassifier)),
            TWO, "predict_proba",
        ),
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [
    "regressor relu", "regressor tanh", "regressor logistic", "regressor identity",
    "several outputs", "two classes", "three classes", "labels", "linear", "no intercept", "ridge",
    "logistic", "logistic, three", "svc", "standard", "no mean", "min max",
])
def test_estimators(name: str) -> None:
    estimator, target, method = estimators()[name]
    estimator.fit(X, target)
    loaded = read_sklearn(estimator)
    points = RNG.normal(size=(40, 4)) * 10
    expected = np.asarray(getattr(estimator, method)(points)).reshape(40, -1)
    assert np.allclose(evaluate(loaded.network, points), expected, rtol=1e-9, atol=1e-12)
    assert loaded.signature.inputs[0].dtype == "float64"
    assert method in " ".join(loaded.reading)


def test_unsupported_estimators() -> None:
    from sklearn.decomposition import PCA
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline

    broken = make_pipeline(PCA(), LinearRegression(), RandomForestRegressor())
    with pytest.raises(UnsupportedModel) as found:
        read_sklearn(broken)
    assert len(found.value.reasons) == 3
    assert "PCA" in found.value.reasons[0] and "not fitted" in found.value.reasons[1]
    with pytest.raises(UnsupportedModel, match="not fitted"):
        read_sklearn(LinearRegression())


# --- VNN-LIB --------------------------------------------------------------------------------


def box_from(tmp_path: Path, text: str) -> Any:
    (tmp_path / "p.vnnlib").write_text(text)
    return read_box(tmp_path / "p.vnnlib")


def declared(*names: str) -> str:
    return "".join(f"(declare-const {name} Real)\n" for name in names)


SQUARE = declared("X_0", "X_1", "Y_0", "Y_1")


def test_a_box_with_exact_decimals(tmp_path: Path) -> None:
    box = box_from(tmp_path, "; a property\n(set-logic LRA)\n" + SQUARE + """
        (assert (<= X_0 0.679857769)) (assert (>= X_0 (- 0.1)))
        (assert (and (<= 0.25 X_1) (>= (+ 0.5 1e-1) X_1)))
        (assert (<= Y_0 Y_1)) (assert (or (and (>= Y_0 3)) (<= (* 2 Y_1) (+ Y_0 X_0))))
        (check-sat)""")
    assert isinstance(box, Box)
    assert box.low.fractions() == [Fraction(-1, 10), Fraction(1, 4)]
    assert box.high.fractions() == [Fraction(679857769, 10**9), Fraction(3, 5)]


def test_unions(tmp_path: Path) -> None:
    text = SQUARE + """
        (assert (or (and (<= X_0 1) (>= X_0 0) (>= Y_0 1)) (and (<= X_0 3) (>= X_0 2))
                    (and (<= X_0 1) (>= X_0 0)) (and (>= X_0 5) (<= X_0 4))))
        (assert (= X_1 0.5))"""
    union = box_from(tmp_path, text)
    assert isinstance(union, Union) and len(union.parts) == 2
    assert [part.low.fractions() for part in union.parts] == [[0, Fraction(1, 2)],
                                                              [2, Fraction(1, 2)]]


def test_nested_alternatives_multiply(tmp_path: Path) -> None:
    choice = "(assert (or (and (>= X_{0} 0) (<= X_{0} 1)) (and (>= X_{0} 2) (<= X_{0} 3))))"
    text = declared(*(f"X_{i}" for i in range(4)))
    union = box_from(tmp_path, text + "".join(choice.format(i) for i in range(4)))
    assert len(union.parts) == 16
    assert len({tuple(part.low.fractions()) for part in union.parts}) == 16
    text = declared(*(f"X_{i}" for i in range(40)))
    with pytest.raises(TooLarge, match="alternatives"):
        box_from(tmp_path, text + "".join(choice.format(i) for i in range(40)))


def test_declare_fun(tmp_path: Path) -> None:
    box = box_from(tmp_path, "(declare-fun X_0 () Real)(assert (and (<= X_0 1) (<= 0 X_0)))")
    assert box.high.fractions() == [1]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (SQUARE + "(assert (<= X_0 X_1))", Refused, "line 5: .*no bound of one input"),
        (SQUARE + "(assert (<= (+ X_0 X_1) 1))", Refused, "no bound"),
        (SQUARE + "(assert (< X_0 1))", Refused, "strict"),
        (SQUARE + "(assert (not (<= X_0 1)))", Refused, "'not'"),
        (SQUARE + "(assert (ite X_0 X_1 Y_0))", Refused, "'ite'"),
        (SQUARE + "(push 1)", Refused, "'push'"),
        ("(declare-network f)", Refused, "'declare-network'"),
        ("(declare-const Z_0 Real)", Refused, "'Z_0'"),
        ("(declare-const X_0 Int)", Refused, "Int"),
        (SQUARE + "(assert (<= X_0 1)", FormatError, "open parentheses"),
        (SQUARE + ")", FormatError, "outside"),
        (SQUARE + "x", FormatError, "outside"),
        (SQUARE + "(assert (<= X_0 1 2))", FormatError, "two terms"),
        (SQUARE + "(assert (<= X_7 1))", FormatError, "not declared"),
        (SQUARE + "(assert (<= X_0 1_0))", FormatError, "'1_0'"),
        (SQUARE + "(assert (<= X_0 1e99999999))", FormatError, "neither"),
        (SQUARE + "(assert X_0)", FormatError, "comparison"),
        (SQUARE + "(assert (and))", FormatError, "of nothing"),
        (SQUARE + "(assert (<= X_0 (/ 1 0)))", FormatError, "division"),
        (SQUARE + "(assert)", FormatError, "0 parts"),
        (SQUARE + "()", FormatError, "empty command"),
        (SQUARE + "((and (<= X_0 1)))", FormatError, "begin with"),
        (declared("X_0", "X_0"), FormatError, "twice"),
        (declared("X_0", "X_2"), FormatError, "without a gap"),
        (declared("Y_0"), FormatError, "without a gap"),
        (SQUARE + "(assert (<= X_0 1))", DomainError, "X_0, X_1"),
        (declared("X_0") + "(assert (and (<= X_0 1) (>= X_0 2)))", DomainError, "empty"),
    ],
)
def test_refused_properties(
    text: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        box_from(tmp_path, text)


def test_deep_nesting_is_no_crash(tmp_path: Path) -> None:
    deep = "(and " * 200_000 + "(<= X_0 1)" + ")" * 200_000
    text = declared("X_0") + f"(assert (>= X_0 0))(assert {deep})"
    assert box_from(tmp_path, text).high.fractions() == [1]
    with pytest.raises(FormatError):
        box_from(tmp_path, "(" * 500_000)
    with pytest.raises(TooLarge):
        read_box(tmp_path / "p.vnnlib", limit_bytes=1000)


def test_many_inputs_are_quick(tmp_path: Path) -> None:
    names = [f"X_{i}" for i in range(3072)]
    bounds = "".join(f"(assert (<= {n} 0.75))(assert (>= {n} 0.1))" for n in names)
    assert box_from(tmp_path, declared(*names) + bounds).dimension == 3072


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="()<=>XY_01.- andorsert;\n", max_size=60))
def test_arbitrary_text_raises_our_errors_only(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("v") / "p.vnnlib"
    path.write_text(SQUARE + text)
    with contextlib.suppress(IsoformError):
        read_box(path)


# --- .nnet ----------------------------------------------------------------------------------


def small_chain() -> Any:
    b = Builder((2,))
    value = b.linear(Dense(RNG.normal(size=(3, 2))), 0, RNG.normal(size=3))
    value = b.add(Relu(), (value,), 3)
    return b.build(b.linear(Dense(RNG.normal(size=(2, 3))), value, RNG.normal(size=2) * 1e-300))


def test_nnet_comes_back(tmp_path: Path) -> None:
    network = small_chain()
    write_nnet(network, tmp_path / "n.nnet")
    loaded = read_nnet(tmp_path / "n.nnet")
    assert loaded.network == network
    assert "without the file's normalisation" in loaded.reading[0]


@pytest.mark.parametrize("equal_bounds", [False, True])
def test_nnet_normalisation(equal_bounds: bool, tmp_path: Path) -> None:
    network = small_chain()
    low, high = ([-1.0, -1.0], [1.5, 1.5]) if equal_bounds else ([-1.0, 0.5], [1.5, 4.0])
    header = Normalisation(
        low=np.array(low), high=np.array(high), mean=np.array([0.1, 0.2, 7.0]),
        spread=np.array([3.0, 0.7, 11.0]),
    )
    write_nnet(network, tmp_path / "n.nnet", header)
    assert read_nnet(tmp_path / "n.nnet").network == network
    loaded = read_nnet(tmp_path / "n.nnet", normalise=True)
    x = RNG.normal(size=(50, 2)) * 3
    inside = (np.clip(x, header.low, header.high) - header.mean[:2]) / header.spread[:2]
    expected = evaluate(network, inside) * 11.0 + 7.0
    assert np.allclose(evaluate(loaded.network, x), expected)


def test_nnet_refusals(tmp_path: Path) -> None:
    path = tmp_path / "n.nnet"
    write_nnet(small_chain(), path)
    text = path.read_text()
    lines = text.splitlines()
    for broken, message in [
        ("\n".join(lines[:-1]), "ends before"),
        (text + "1.0,\n", "goes on"),
        (text.replace(lines[8], "0x1p3,2,"), "line 9: '0x1p3' is no number"),
        (text.replace(lines[8], "1e999,2,"), "line 9 holds NaN or infinity"),
        (text.replace(lines[8], "1,2,3"), "line 9: .* has 3 numbers, not 2"),
        (text.replace(lines[1], "9999999,2,2,3,"), "layers"),
        (text.replace(lines[2], "2,3000000000,2,"), "whole numbers"),
        (text.replace(lines[2], "3,3,2,"), "layer sizes"),
        (text.replace(lines[7], "0,1,1,"), "range of zero"),
        ("", "ends before the first line"),
    ]:
        path.write_text(broken)
        with pytest.raises(FormatError, match=message):
            read_nnet(path)
    with pytest.raises(TooLarge):
        path.write_text(text)
        read_nnet(path, limit_bytes=10)
    b = Builder((2,))
    with pytest.raises(NotInClass, match="node 1 is no dense layer"):
        write_nnet(b.build(b.add(Step(), (0,), 2)), path)
    assert path.read_text() == text
