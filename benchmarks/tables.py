"""Steps 1 to 6 beside a plain script: metrics on tables that packages ship, time and memory on made-up ones.

The plain script reads, splits, fits one HistGradientBoosting on types made by hand, and measures it. Both use
the same test rows. Targets: on every table at least the plain script's metric less one bootstrap standard
error, and ahead on average; at most 6 times its time on 30,000 rows x 15, and 3 times its time and memory on
336,776 rows x 18.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SIZES = ((30_000, 15), (336_776, 18))
SEED = 7
CATEGORIES = 12
MANY_CATEGORIES = 200
MOST_NATIVE_CATEGORIES = 254
FLIGHT_COLUMNS = 18
"""Number of columns of the table of flights; other tables have numbers and two columns of categories."""
CANCELLED = 0.025


def main() -> None:
    """Print both measurements."""
    sizes = [tuple(map(int, size.split("x"))) for size in os.environ.get("SIZES", "").split(",") if size]
    if os.environ.get("PART", "metrics") != "speed":
        metrics()
    if os.environ.get("PART", "speed") != "metrics":
        speed(sizes or list(SIZES))


def metrics() -> None:
    """Print the metric of both on each table."""
    print(f"{'table':16}{'rows':>8}{'metric':>9}{'Tier0':>9}{'plain':>9}{'ahead':>9}{'SE':>8}  algorithm")
    ahead = []
    for name, frame, target in tables():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.csv"
            frame.to_csv(path, index=False)
            one = compared(path, target, frame)
        ahead.append(one["ours"] - one["plain"])
        verdict = "" if ahead[-1] >= -one["spread"] else "  BEHIND"
        print(
            f"{name:16}{len(frame):8,}{one['metric']:>9}{one['ours']:9.3f}{one['plain']:9.3f}"
            f"{ahead[-1]:+9.3f}{one['spread']:8.3f}  {one['algorithm']}{verdict}",
            flush=True,
        )
    print(f"on average {sum(ahead) / len(ahead):+.4f}")


def compared(path: Path, target: str, frame: Any) -> dict[str, Any]:
    """Train with steps 4 and 5, and plainly on the same rows, and return both metrics."""
    from tier0.core.event_log import EventLog  # noqa: PLC0415
    from tier0.core.settings import ALGORITHMS, merge_settings  # noqa: PLC0415
    from tier0.pipeline.candidates import candidates_for  # noqa: PLC0415
    from tier0.pipeline.data import load_dataset, split  # noqa: PLC0415
    from tier0.pipeline.selection import select  # noqa: PLC0415
    from tier0.pipeline.training import train  # noqa: PLC0415

    dataset = load_dataset(merge_settings({"dataset": str(path), "target": target}, {}))
    parts = split(dataset, SEED)
    selection = select(dataset, parts["train"], candidates_for(dataset, ALGORITHMS, SEED), SEED, EventLog())
    training = train(dataset, parts, selection.winner, 5, SEED, EventLog())
    metric = "r2" if dataset.task == "regression" else "auc_roc"
    fitted = [*parts["train"], *parts["validation"]]
    return {
        "metric": metric,
        "ours": training.metrics[metric],
        "spread": training.spread.get(metric, training.evaluation.chance.spread),
        "algorithm": training.algorithm,
        "plain": plain_metric(frame, target, fitted, list(parts["test"]), metric),
    }


def plain_metric(frame: Any, target: str, fitted: list[int], test: list[int], metric: str) -> float:
    """Fit a HistGradientBoosting on categories of pandas, and return its metric on the test rows."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor  # noqa: PLC0415
    from sklearn.metrics import r2_score, roc_auc_score  # noqa: PLC0415

    features = frame.drop(columns=target)
    texts = [name for name, dtype in features.dtypes.items() if getattr(dtype, "kind", "O") not in "fiub"]
    features = features.astype(dict.fromkeys(texts, "category"))
    y = frame[target].to_numpy()
    if metric == "r2":
        model = HistGradientBoostingRegressor(random_state=SEED).fit(features.iloc[fitted], y[fitted])
        return float(r2_score(y[test], model.predict(features.iloc[test])))
    model = HistGradientBoostingClassifier(random_state=SEED).fit(features.iloc[fitted], y[fitted])
    probabilities = model.predict_proba(features.iloc[test])
    if len(model.classes_) == 2:
        return float(roc_auc_score(y[test] == model.classes_[1], probabilities[:, 1]))
    return float(roc_auc_score(y[test], probabilities, multi_class="ovr"))


def tables() -> Iterator[tuple[str, Any, str]]:
    """Yield the name, the table and the target of what packages ship, as far as they are installed."""
    from sklearn import datasets  # noqa: PLC0415

    for name in ("breast_cancer", "wine", "diabetes", "digits"):
        frame = getattr(datasets, f"load_{name}")(as_frame=True).frame
        yield name, frame, "target"
    try:
        from statsmodels import datasets as shipped  # noqa: PLC0415
    except ImportError:
        return
    changes: dict[str, tuple[str, Callable[[Any], Any]]] = {
        "fair": ("affairs", lambda frame: frame.assign(affairs=(frame["affairs"] > 0).astype(int))),
        "anes96": ("vote", lambda frame: frame),
        "randhie": ("mdvis", lambda frame: frame.assign(mdvis=(frame["mdvis"] > 2).astype(int))),
        "modechoice": ("choice", lambda frame: frame.drop(columns=["individual"])),
        "star98": ("NABOVE", lambda frame: frame.drop(columns=["NBELOW"])),
    }
    for name, (target, change) in changes.items():
        yield name, change(getattr(shipped, name).load_pandas().data).reset_index(drop=True), target


def speed(sizes: list[tuple[int, ...]]) -> None:
    """Print time and peak memory of `tier0 run --step 1-6` and of the plain script, both with start-up.

    OpenMP has one thread in all processes, since its threads count as busy while they wait. The processor's
    time depends less than the wall time on what else the machine does.
    """
    heads = ("rows", "columns", "CPU s", "plain", "ratio", "wall s", "plain", "ratio", "MB", "plain", "ratio")
    print("\n" + "".join(f"{head:>9}" for head in heads))
    for rows, columns in sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "made.csv"
            (flights(rows) if columns == FLIGHT_COLUMNS else made(rows, columns)).to_csv(path, index=False)
            run = ["-m", "tier0.cli", "run", "--dataset", str(path), "--target", "y", "--step", "1-6"]
            ours = measured([*run, "--output-dir", folder])
            plain = measured([__file__, "plain", str(path)])
        numbers = "".join(
            f"{ours[unit]:9.1f}{plain[unit]:9.1f}{ours[unit] / plain[unit]:9.1f}"
            for unit in ("cpu", "seconds", "peak")
        )
        print(f"{rows:9,}{columns:9}{numbers}", flush=True)


def made(rows: int, columns: int) -> Any:
    """Return a table of numbers, two columns of categories, and a target of two classes."""
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    draw = np.random.default_rng(SEED)
    numbers = draw.normal(size=(rows, columns - 2))
    few, many = draw.integers(0, CATEGORIES, rows), draw.integers(0, MANY_CATEGORIES, rows)
    score = numbers[:, 0] + numbers[:, 1] * numbers[:, 2] + few / 6 + np.sin(many) - 1
    frame = pd.DataFrame(numbers.round(4), columns=[f"x{number}" for number in range(columns - 2)])
    frame["few"], frame["many"] = [f"few {one}" for one in few], [f"many {one}" for one in many]
    frame["y"] = (score + draw.logistic(size=rows) > 0).astype(int)
    return frame


def flights(rows: int) -> Any:
    """Return a table like that of the flights of a year: categories with up to 4,000 values, times, gaps."""
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    draw = np.random.default_rng(SEED)
    minutes = np.sort(draw.integers(0, 365 * 24 * 60, rows))
    when = pd.Timestamp("2013-01-01") + pd.to_timedelta(minutes, unit="m")
    carrier, dest = np.minimum(draw.geometric(0.2, rows) - 1, 15), np.minimum(draw.geometric(0.04, rows), 104)
    delay = np.round(draw.exponential(12, rows) - 5 + (when.hour - 12) * 0.7)
    by_dest = draw.normal(size=105)[dest] * 5
    late = delay + by_dest + (carrier == 2) * 6 + (when.month % 12 == 6) * 8 + draw.normal(0, 14, rows) > 15
    distance, departure = 200 + dest * 23, (minutes % 1440 + delay) % 1440
    is_cancelled = draw.random(rows) < CANCELLED
    return pd.DataFrame(
        {
            "year": 2013,
            "month": when.month,
            "day": when.day,
            "dep_time": np.where(is_cancelled, np.nan, departure // 60 * 100 + departure % 60),
            "sched_dep_time": when.hour * 100 + when.minute,
            "dep_delay": np.where(is_cancelled, np.nan, delay),
            "sched_arr_time": (when.hour * 100 + when.minute + distance // 8) % 2400,
            "carrier": [f"C{one}" for one in carrier],
            "flight": draw.integers(1, 6000, rows),
            "tailnum": [f"N{one}UA" for one in draw.integers(100, 4100, rows)],
            "origin": draw.choice(["EWR", "JFK", "LGA"], rows),
            "dest": [f"D{one}" for one in dest],
            "air_time": np.where(is_cancelled, np.nan, np.round(distance / 7.5 + draw.normal(18, 8, rows))),
            "distance": distance,
            "hour": when.hour,
            "minute": when.minute,
            "time_hour": when.floor("h").strftime("%Y-%m-%d %H:%M:%S"),
            "y": np.where(late, "late", "on time"),
        }
    )


def measured(arguments: list[str]) -> dict[str, float]:
    """Run Python with *arguments*; return its times, and the largest peak memory of its processes."""
    code = (
        "import json, resource, subprocess, sys, time; start = time.perf_counter(); "
        "subprocess.run([sys.executable, *sys.argv[1:]], stdout=subprocess.DEVNULL, check=True); "
        "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(json.dumps({'seconds': time.perf_counter() - start, 'cpu': used.ru_utime + used.ru_stime, "
        "'peak': used.ru_maxrss / 1024}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")},
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def plain(path: str) -> None:
    """Read, split, fit and measure, as a plain script does; categories of many values become numbers."""
    import pandas as pd  # noqa: PLC0415
    from sklearn.model_selection import train_test_split  # noqa: PLC0415

    start = time.perf_counter()
    frame = pd.read_csv(path)
    for name in frame.columns.drop("y"):
        if frame[name].dtype.kind not in "fiub" and frame[name].nunique() > MOST_NATIVE_CATEGORIES:
            frame[name] = frame[name].astype("category").cat.codes
    fitted, test = train_test_split(range(len(frame)), test_size=0.2, random_state=SEED)
    print(plain_metric(frame, "y", fitted, test, "auc_roc"), time.perf_counter() - start)


if __name__ == "__main__":
    if sys.argv[1:2] == ["plain"]:
        plain(sys.argv[2])
    else:
        main()
