# SPDX-License-Identifier: Apache-2.0
"""Fitted scikit-learn estimators as networks over float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from isoform.errors import UnsupportedModel
from isoform.network.constants import inverse, real_array
from isoform.network.linear_map import Constant, Dense, Gather
from isoform.network.model import Loaded, Signature, Tensor
from isoform.network.network import Builder
from isoform.network.operators import Clip, Opaque, Operator, Relu

ACTIVATIONS: dict[str, Operator | None] = {
    "relu": Relu(), "tanh": Opaque("tanh"), "logistic": Opaque("sigmoid"), "identity": None,
}


def read_sklearn(estimator: Any) -> Loaded:
    """The function of a fitted estimator, on real inputs, in the meaning `reading` states.

    MLPRegressor and the linear regressors: `predict`. MLPClassifier: `predict_proba` (softmax, or
    for two classes and for several labels the sigmoid, one output). LogisticRegression, LinearSVC,
    RidgeClassifier, SGDClassifier, Perceptron: `decision_function`. StandardScaler and
    MinMaxScaler in front of them in a Pipeline. Weights mean the float64 numbers that they are; a
    division by a scale is exact. UnsupportedModel with every part that is not taken.
    """
    steps = steps_of(estimator)
    check(estimator, steps)
    b = Builder((width_of(steps),))
    value, reading = 0, []
    for step in steps:
        value, said = RULES[type(step).__name__](b, value, step)
        reading.append(said)
    network = b.build(value)
    default = Signature.of(network)
    signature = Signature(
        inputs=tuple(Tensor(t.name, t.shape, "float64") for t in default.inputs),
        outputs=tuple(Tensor(t.name, t.shape, "float64") for t in default.outputs),
    )
    origin = f"scikit-learn {type(estimator).__name__}"
    return Loaded(network=network, signature=signature, origin=origin, reading=tuple(reading))


def steps_of(estimator: Any) -> list[Any]:
    """The estimators one after the other, pipelines unfolded."""
    if type(estimator).__name__ != "Pipeline":
        return [estimator]
    steps = []
    for _, step in estimator.steps:
        if step is not None and step != "passthrough":
            steps += steps_of(step)
    return steps


def check(estimator: Any, steps: list[Any]) -> None:
    """UnsupportedModel unless every step is known, fitted, and in its place."""
    reasons = [] if steps else ["an empty pipeline"]
    for i, step in enumerate(steps):
        name = type(step).__name__
        if name not in RULES or not type(step).__module__.startswith("sklearn."):
            reasons.append(f"step {i}: {name} is none of {', '.join(RULES)}")
        elif not hasattr(step, "n_features_in_"):
            reasons.append(f"step {i}: {name} is not fitted; call fit first")
        elif i + 1 < len(steps) and name not in SCALERS:
            reasons.append(f"step {i}: {name} is not the last step of the pipeline")
    if reasons:
        raise UnsupportedModel(f"scikit-learn {type(estimator).__name__}", reasons)


def width_of(steps: list[Any]) -> int:
    return int(steps[0].n_features_in_)


def numbers(values: Any, what: str) -> Constant:
    """Fitted numbers as float64."""
    return real_array(np.asarray(values, dtype=np.float64), what)


def scaled(b: Builder, value: int, scale: Constant | None, shift: Constant | None) -> int:
    """scale x + shift, entry by entry."""
    n = b.size_of(value)
    return b.linear(Gather(indices=np.arange(n), scale=scale, inputs=n), value, shift)


def read_standard_scaler(b: Builder, value: int, scaler: Any) -> tuple[int, str]:
    """(x - mean) / scale."""
    if scaler.mean_ is not None and scaler.with_mean:
        value = scaled(b, value, None, numbers(-scaler.mean_, "mean_"))
    if scaler.scale_ is not None and scaler.with_std:
        value = scaled(b, value, inverse(numbers(scaler.scale_, "scale_")), None)
    return value, "StandardScaler: (x - mean_) / scale_, the quotient over the reals"


def read_min_max_scaler(b: Builder, value: int, scaler: Any) -> tuple[int, str]:
    """x scale + min, clipped to the range where asked."""
    value = scaled(b, value, numbers(scaler.scale_, "scale_"), numbers(scaler.min_, "min_"))
    if scaler.clip:
        low, high = (float(bound) for bound in scaler.feature_range)
        value = b.add(Clip(low, high), (value,), b.shape_of(value))
    return value, "MinMaxScaler: x scale_ + min_" + (", clipped" if scaler.clip else "")


def read_perceptron_layers(b: Builder, value: int, model: Any) -> int:
    """The layers of a multi-layer perceptron, without the output activation."""
    activation = ACTIVATIONS[model.activation]
    for i, (weight, bias) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        matrix = numbers(weight.T, f"coefs_[{i}]")
        value = b.linear(Dense(matrix), value, numbers(bias, f"intercepts_[{i}]"))
        if i + 1 < len(model.coefs_) and activation is not None:
            value = b.add(activation, (value,), b.shape_of(value))
    return value


def read_mlp_regressor(b: Builder, value: int, model: Any) -> tuple[int, str]:
    value = read_perceptron_layers(b, value, model)
    if model.out_activation_ == "identity":
        return value, "MLPRegressor: predict"
    if model.out_activation_ != "exp":
        raise UnsupportedModel("MLPRegressor", [f"output activation {model.out_activation_!r}"])
    value = b.add(Opaque("exp"), (value,), b.shape_of(value))
    return value, "MLPRegressor: predict, the exponential at the end"


def read_mlp_classifier(b: Builder, value: int, model: Any) -> tuple[int, str]:
    value = read_perceptron_layers(b, value, model)
    size = b.size_of(value)
    if model.out_activation_ == "softmax":
        value = b.add(Opaque("softmax", size), (value,), size)
        return value, "MLPClassifier: predict_proba, softmax at the end, classes as in classes_"
    value = b.add(Opaque("sigmoid"), (value,), size)
    if size > 1:
        return value, "MLPClassifier: predict_proba of each label, sigmoid at the end"
    both = np.array([[-1.0], [1.0]])
    value = b.linear(Dense(both), value, np.array([1.0, 0.0]))
    return value, "MLPClassifier: predict_proba of two classes, 1 - p and p with p a sigmoid"


def read_affine(b: Builder, value: int, model: Any) -> int:
    """coef_ x + intercept_."""
    weight = np.atleast_2d(np.asarray(model.coef_, dtype=np.float64))
    given = np.asarray(model.intercept_, dtype=np.float64)
    bias = np.broadcast_to(given.ravel(), (len(weight),)).copy()
    matrix = Dense(numbers(weight, "coef_"))
    return b.linear(matrix, value, numbers(bias, "intercept_") if bias.any() else None)


def read_regression(b: Builder, value: int, model: Any) -> tuple[int, str]:
    return read_affine(b, value, model), f"{type(model).__name__}: predict"


def read_decision(b: Builder, value: int, model: Any) -> tuple[int, str]:
    value = read_affine(b, value, model)
    name = type(model).__name__
    if b.size_of(value) == 1:
        return value, f"{name}: decision_function, positive for the second of classes_"
    return value, f"{name}: decision_function, one output for each of classes_"


Rule = Callable[[Builder, int, Any], tuple[int, str]]
SCALERS: dict[str, Rule] = {
    "StandardScaler": read_standard_scaler, "MinMaxScaler": read_min_max_scaler,
}
RULES: dict[str, Rule] = SCALERS | {
    "MLPRegressor": read_mlp_regressor,
    "MLPClassifier": read_mlp_classifier,
    **dict.fromkeys(("LinearRegression", "Ridge", "Lasso", "ElasticNet", "LinearSVR",
                     "SGDRegressor"), read_regression),
    **dict.fromkeys(("LogisticRegression", "LinearSVC", "RidgeClassifier", "SGDClassifier",
                     "Perceptron"), read_decision),
}
