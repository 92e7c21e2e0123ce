"""The candidate algorithms of step 4, each a scikit-learn pipeline with its preprocessing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tier0.core.errors import MissingDependencyError
from tier0.pipeline.preprocessing import Needs, pipeline_of

if TYPE_CHECKING:
    import optuna

    from tier0.pipeline.data import Dataset


@dataclass(frozen=True)
class Candidate:
    """An algorithm with its search space.

    Attributes:
        name: name in the setting ``algorithms``.
        estimator: the estimator's class name.
        build: function that makes an unfitted pipeline from hyper-parameters.
        suggest: function that draws hyper-parameters from an Optuna trial.
    """

    name: str
    estimator: str
    build: Callable[..., Any]
    suggest: Callable[[optuna.Trial], dict[str, Any]]


def candidates_for(dataset: Dataset, names: tuple[str, ...], seed: int) -> list[Candidate]:
    """Return the candidates with these names for this data, in the same order.

    Raises:
        MissingDependencyError: a candidate's library is not installed.
    """
    return [_MAKERS[name](dataset, seed) for name in names]


def plain_tree(dataset: Dataset, seed: int) -> Candidate:
    """Return a small decision tree, with which the linear candidate is compared."""
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor  # noqa: PLC0415

    kind = DecisionTreeRegressor if dataset.task == "regression" else DecisionTreeClassifier

    def build(**parameters: Any) -> Any:
        estimator = kind(**{"max_depth": 4, "random_state": seed, **parameters})
        return pipeline_of(dataset, estimator, Needs(impute=True), seed)

    return Candidate("plain_tree", kind.__name__, build, lambda _: {})


def _linear(dataset: Dataset, seed: int) -> Candidate:
    from sklearn.linear_model import LogisticRegression, Ridge  # noqa: PLC0415

    needs = Needs(impute=True, scale=True, dense=False)

    def build(**parameters: Any) -> Any:
        if dataset.task == "regression":
            return pipeline_of(dataset, Ridge(random_state=seed, **parameters), needs, seed)
        estimator = LogisticRegression(max_iter=2000, random_state=seed, **parameters)
        return pipeline_of(dataset, estimator, needs, seed)

    def suggest(trial: optuna.Trial) -> dict[str, Any]:
        if dataset.task == "regression":
            return {"alpha": trial.suggest_float("alpha", 1e-3, 1e2, log=True)}
        return {"C": trial.suggest_float("C", 1e-3, 1e2, log=True)}

    name = "Ridge" if dataset.task == "regression" else "LogisticRegression"
    return Candidate("linear", name, build, suggest)


def _random_forest(dataset: Dataset, seed: int) -> Candidate:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor  # noqa: PLC0415

    kind = RandomForestRegressor if dataset.task == "regression" else RandomForestClassifier

    def build(**parameters: Any) -> Any:
        estimator = kind(**{"n_estimators": 100, "n_jobs": 1, "random_state": seed, **parameters})
        return pipeline_of(dataset, estimator, Needs(impute=True), seed)

    def suggest(trial: optuna.Trial) -> dict[str, Any]:
        return {
            "max_depth": trial.suggest_int("max_depth", 3, 16),
            "min_samples_leaf": trial.suggest_int("min_samples_leaf", 1, 10),
            "max_features": trial.suggest_float("max_features", 0.2, 1.0),
        }

    return Candidate("random_forest", kind.__name__, build, suggest)


def _hist_gradient_boosting(dataset: Dataset, seed: int) -> Candidate:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor  # noqa: PLC0415

    kind = HistGradientBoostingRegressor if dataset.task == "regression" else HistGradientBoostingClassifier

    def build(**parameters: Any) -> Any:
        estimator = kind(**{"max_iter": 100, "early_stopping": False, "random_state": seed, **parameters})
        return pipeline_of(dataset, estimator, Needs(native=True), seed)

    def suggest(trial: optuna.Trial) -> dict[str, Any]:
        return {
            "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.3, log=True),
            "max_leaf_nodes": trial.suggest_int("max_leaf_nodes", 4, 31),
            "min_samples_leaf": trial.suggest_int("min_samples_leaf", 5, 40),
        }

    return Candidate("hist_gradient_boosting", kind.__name__, build, suggest)


def _xgboost(dataset: Dataset, seed: int) -> Candidate:
    try:
        from xgboost import XGBClassifier, XGBRegressor  # noqa: PLC0415
    except ImportError as problem:
        raise _missing("xgboost") from problem
    kind: Any = XGBRegressor if dataset.task == "regression" else XGBClassifier
    wrap = dataset.task == "classification" and not _labels_are_codes(dataset)

    def build(**parameters: Any) -> Any:
        estimator = kind(
            **{"n_estimators": 100, "n_jobs": 1, "random_state": seed, "tree_method": "hist", **parameters}
        )
        if wrap:
            from tier0.pipeline.labels import LabelledClassifier  # noqa: PLC0415

            estimator = LabelledClassifier(estimator)
        return pipeline_of(dataset, estimator, Needs(), seed)

    return Candidate("xgboost", kind.__name__, build, _suggest_boosting)


def _lightgbm(dataset: Dataset, seed: int) -> Candidate:
    try:
        from lightgbm import LGBMClassifier, LGBMRegressor  # noqa: PLC0415
    except ImportError as problem:
        raise _missing("lightgbm") from problem
    kind: Any = LGBMRegressor if dataset.task == "regression" else LGBMClassifier

    def build(**parameters: Any) -> Any:
        defaults = {
            "n_estimators": 100,
            "n_jobs": 1,
            "subsample_freq": 1,
            "random_state": seed,
            "deterministic": True,
            "verbose": -1,
        }
        return pipeline_of(dataset, kind(**{**defaults, **parameters}), Needs(), seed)

    return Candidate("lightgbm", kind.__name__, build, _suggest_boosting)


def _catboost(dataset: Dataset, seed: int) -> Candidate:
    try:
        from catboost import CatBoostClassifier, CatBoostRegressor  # noqa: PLC0415 - an extra
    except ImportError as problem:
        raise _missing("catboost") from problem
    is_regression = dataset.task == "regression"
    kind: Any = CatBoostRegressor if is_regression else CatBoostClassifier

    def build(**parameters: Any) -> Any:
        defaults = {
            "iterations": 200,
            "thread_count": 1,
            "random_seed": seed,
            "verbose": False,
            "allow_writing_files": False,
        }
        estimator = kind(**{**defaults, **parameters})
        if not is_regression:  # it predicts a table of labels
            from tier0.pipeline.labels import LabelledClassifier  # noqa: PLC0415

            estimator = LabelledClassifier(estimator)
        return pipeline_of(dataset, estimator, Needs(), seed)

    def suggest(trial: optuna.Trial) -> dict[str, Any]:
        return {
            "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.3, log=True),
            "depth": trial.suggest_int("depth", 3, 8),
            "l2_leaf_reg": trial.suggest_float("l2_leaf_reg", 0.1, 10.0, log=True),
        }

    return Candidate("catboost", kind.__name__, build, suggest)


def _suggest_boosting(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.3, log=True),
        "max_depth": trial.suggest_int("max_depth", 2, 8),
        "subsample": trial.suggest_float("subsample", 0.6, 1.0),
        "reg_lambda": trial.suggest_float("reg_lambda", 1e-2, 10.0, log=True),
    }


def _missing(package: str) -> MissingDependencyError:
    return MissingDependencyError(
        f"the algorithm {package} needs the package {package}, which is not installed. Install it (pip "
        f"install {package}), or select other algorithms: --tier0-algorithms "
        "linear,random_forest,hist_gradient_boosting"
    )


def _labels_are_codes(dataset: Dataset) -> bool:
    labels = dataset.classes.labels
    return labels.dtype.kind in "iu" and bool(np.array_equal(labels, np.arange(len(labels))))


_MAKERS: dict[str, Callable[[Dataset, int], Candidate]] = {
    "linear": _linear,
    "random_forest": _random_forest,
    "hist_gradient_boosting": _hist_gradient_boosting,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "catboost": _catboost,
}
