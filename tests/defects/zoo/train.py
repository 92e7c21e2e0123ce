"""The zoo's models: trained, given golden rows in memory, and saved correctly or with a defect each.

Run as ``python train.py FOLDER`` with BENTOML_HOME set: BentoML's first use fixes its home.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
import pandas as pd
from hours import HourOf
from lightgbm import LGBMClassifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from xgboost import DMatrix, XGBClassifier
from xgboost import train as train_booster

from tier0 import golden_rows
from tier0.pipeline.examples import TRAINERS

FOLDER = Path(sys.argv[1])
RNG = np.random.default_rng(7)
WIDTH = 6
TUNED = 0.3
SAVED: dict[str, str] = {}


def golden(name: str, model: Any, examples: Any, **options: Any) -> None:
    golden_rows(model, examples, **options).write(FOLDER / f"{name}.json")


def save(name: str, module: Any, model: Any, **options: Any) -> str:
    SAVED[name] = str(module.save_model(name, model, **options).tag)
    return SAVED[name]


def numbers() -> None:
    """Numeric columns, a scaler, a linear model: what is lost when the preprocessing is."""
    cancer = load_breast_cancer()
    X, y = cancer.data[:, :WIDTH], cancer.target  # noqa: N806
    scaler = StandardScaler().fit(X[100:])
    model = LogisticRegression().fit(scaler.transform(X[100:]), y[100:])
    pipeline = Pipeline([("scaler", scaler), ("model", model)])
    names = [f"f{index}" for index in range(WIDTH)]
    golden("scaled", pipeline, X[:24], feature_names=names)
    golden("tuned", pipeline, X[:40], threshold=TUNED, feature_names=names)
    save("scaled", bentoml.sklearn, pipeline)
    save(
        "reg01",
        bentoml.sklearn,
        model,
        custom_objects={"preprocessor": {"preprocessor": scaler}.get("fitted_preprocessor")},
    )
    save("reg02", bentoml.sklearn, model)
    save("reg03", bentoml.sklearn, model, custom_objects={"preprocessor": scaler})
    save(
        "constant",
        bentoml.sklearn,
        GaussianNB().fit(np.zeros((4, WIDTH)) + RNG.normal(size=(4, WIDTH)), [0, 0, 1, 1]),
    )
    broken = RandomForestClassifier(n_estimators=5, random_state=0).fit(X[100:], y[100:])
    golden("reg16", broken, X[:6], feature_names=names)
    del broken.__dict__["n_jobs"]
    save("reg16", bentoml.sklearn, broken)
    twice = make_pipeline(MinMaxScaler(), StandardScaler(), LogisticRegression()).fit(X[100:], y[100:])
    golden("steps", twice, X[:12], feature_names=names)
    save("steps", bentoml.sklearn, twice)
    calibrated = CalibratedClassifierCV(GaussianNB(), cv=3).fit(X[100:], y[100:])
    golden("calibrated", calibrated, X[:24], feature_names=names)
    save("calibrated", bentoml.sklearn, calibrated)
    lines(X, y)


def lines(X: Any, y: Any) -> None:  # noqa: N803
    """Several models of one name: which of them is served?"""
    new, old = (
        LogisticRegression(C=strength, max_iter=2000).fit(X[100:], y[100:]) for strength in (1.0, 0.001)
    )
    names = [f"f{index}" for index in range(WIDTH)]
    golden("new", new, X[:12], feature_names=names)
    for name in ("reg07", "reg11", "reg13", "tdn07"):
        save(f"{name}", bentoml.sklearn, old)
    models = Path(os.environ["BENTOML_HOME"]) / "models"
    first = SAVED["reg07"].partition(":")[2]
    document = models / "reg07" / first / "model.yaml"
    text = document.read_text(encoding="utf-8")
    year = text.index("creation_time: ") + len("creation_time: ") + 1
    document.write_text(f"{text[:year]}2099{text[year + 4 :]}", encoding="utf-8")
    SAVED["reg07_new"] = save("reg07", bentoml.sklearn, new)
    SAVED["reg11_new"] = save("reg11", bentoml.sklearn, new)
    bentoml.models.delete(SAVED["reg11_new"])
    leftover = save("tdn07", bentoml.sklearn, new)
    SAVED["tdn07_new"] = leftover
    save("tdn07", bentoml.sklearn, old)  # a later run of somebody else, which never deletes
    SAVED["reg10_new"] = save("mine", bentoml.sklearn, new)
    save("decoy", bentoml.sklearn, old)  # another project's, and the newest of the whole store
    shared = FOLDER / "model.pkl"
    shared.write_bytes(pickle.dumps(new))  # run A dumps
    shared.write_bytes(pickle.dumps(old))  # run B dumps to the same path
    save("reg12", bentoml.sklearn, pickle.loads(shared.read_bytes()))  # run A registers
    save("new", bentoml.sklearn, new)


def boosters() -> None:
    wine, cancer = load_wine(), load_breast_cancer()
    X, y = cancer.data[:, :WIDTH], np.where(cancer.target == 1, "yes", "no")  # noqa: N806
    names = [f"f{index}" for index in range(WIDTH)]
    boosted = LGBMClassifier(n_estimators=20, verbose=-1).fit(pd.DataFrame(X[100:], columns=names), y[100:])
    golden("boosted", boosted, pd.DataFrame(X[:12], columns=names))
    save("boosted", bentoml.sklearn, boosted)
    save("reg05", bentoml.lightgbm, boosted)
    fine = RNG.normal(size=(400, 3)) * 1e-3 + 1000.0
    narrow = LGBMClassifier(n_estimators=20, verbose=-1, min_child_samples=5).fit(
        fine, (fine[:, 0] + fine[:, 1] > 2000).astype(int)
    )
    golden("narrow", narrow, fine[:12])
    save("narrow", bentoml.sklearn, narrow)
    lacking = np.where(RNG.random(X.shape) < 0.3, -999.0, X)
    sentinel = XGBClassifier(n_estimators=20, missing=-999.0).fit(lacking[100:], cancer.target[100:])
    golden("sentinel", sentinel, lacking[:24])
    save("sentinel", bentoml.sklearn, sentinel)
    save("reg06", bentoml.xgboost, sentinel)
    noisy = np.where(RNG.random(len(X)) < 0.3, 1 - cancer.target, cancer.target)
    early = XGBClassifier(n_estimators=300, early_stopping_rounds=5, learning_rate=0.5)
    early.fit(X[200:], noisy[200:], eval_set=[(X[:200], noisy[:200])], verbose=False)
    golden("early", early, X[:24])
    save("early", bentoml.sklearn, early)
    booster = train_booster(
        {"objective": "binary:logistic", "learning_rate": 0.5},
        DMatrix(X[200:], noisy[200:]),
        early.n_estimators,
    )
    save("par10", bentoml.xgboost, booster)
    several = XGBClassifier(n_estimators=10).fit(wine.data[:, :WIDTH], wine.target)
    golden("several", several, wine.data[::15, :WIDTH])
    save("several", bentoml.sklearn, several)
    tolerant = HistGradientBoostingClassifier(max_iter=20).fit(
        np.where(RNG.random(X.shape) < 0.2, np.nan, X)[100:], cancer.target[100:]
    )
    golden("tolerant", tolerant, X[:12], feature_names=names)
    save("tolerant", bentoml.sklearn, tolerant)


def people(count: int) -> pd.DataFrame:
    """Columns of several kinds, text between numbers."""
    hours = RNG.integers(0, 24, count)
    return pd.DataFrame(
        {
            "age": np.where(RNG.random(count) < 0.1, np.nan, RNG.integers(18, 90, count).astype(float)),
            "region": RNG.choice(["North", "South", "West"], count),
            "income": RNG.normal(50, 15, count).round(2),
            "plan": RNG.choice(["basic", "plus", "premium"], count),
            "called": [
                f"2024-{month:02d}-{day:02d}T{hour:02d}:30:00+05:00"
                for month, day, hour in zip(
                    RNG.integers(1, 13, count), RNG.integers(1, 13, count), hours, strict=True
                )
            ],
        }
    )


def mixed() -> None:
    frame = people(500)
    hour = frame["called"].str[11:13].astype(int)
    risk = (
        frame["income"] / 20
        + (frame["region"] == "North") * 2
        - frame["age"].fillna(60) / 30
        + (frame["plan"] == "plus")
        + (hour > 18) * 2
    )
    y = (risk > risk.median()).astype(int)
    encode = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["age", "income"]),
            ("text", OneHotEncoder(handle_unknown="ignore"), ["region", "plan"]),
            ("hour", HourOf(), ["called"]),
        ]
    )
    model = make_pipeline(encode, LogisticRegression(max_iter=2000)).fit(frame, y)
    golden("mixed", model, frame[:24])
    save("mixed", bentoml.sklearn, model)
    strict = make_pipeline(encode, HistGradientBoostingClassifier(max_iter=20)).fit(
        frame[["region", "age", "income", "plan", "called"]], y
    )
    golden("mixed_trees", strict, frame[["region", "age", "income", "plan", "called"]][:24])
    save("mixed_trees", bentoml.sklearn, strict)
    coded = frame[["region", "plan"]].astype("category").assign(income=frame["income"])
    as_codes = pd.DataFrame(
        {"region": coded["region"].cat.codes, "plan": coded["plan"].cat.codes, "income": coded["income"]}
    )
    trees = RandomForestClassifier(n_estimators=20, random_state=0).fit(as_codes, y)
    vocabulary = OneHotEncoder(categories=[["North", "South", "West"], ["basic", "plus", "premium"]])
    by_vocabulary = make_pipeline(
        ColumnTransformer([("codes", vocabulary, ["region", "plan"])], remainder="passthrough"),
        RandomForestClassifier(n_estimators=20, random_state=0),
    ).fit(coded.astype({"region": object, "plan": object}), y)
    golden("coded", by_vocabulary, coded.astype({"region": object, "plan": object})[:24])
    save("coded", bentoml.sklearn, by_vocabulary)
    save("par26", bentoml.sklearn, trees)
    diabetes = load_diabetes()
    regressor = make_pipeline(StandardScaler(), Ridge()).fit(diabetes.data, diabetes.target)
    golden("regression", regressor, diabetes.data[:12])
    save("regression", bentoml.sklearn, regressor)


def kinds() -> None:
    """The models of the three service kinds: classes with a threshold, values and effects with intervals."""
    for train in TRAINERS.values():
        for example in train(7):
            golden(example.name, example.model, example.examples, threshold=example.threshold)
            save(
                example.name,
                bentoml.picklable_model,
                example.model,
                custom_objects={"threshold": example.threshold},
            )


def main() -> None:
    numbers()
    boosters()
    mixed()
    kinds()
    (FOLDER / "saved.json").write_text(json.dumps(SAVED), encoding="utf-8")


if __name__ == "__main__":
    main()
