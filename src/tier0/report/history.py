"""The history of runs: one small file per run in a folder of the user, and what changed over these runs.

Any number of runs may write into a folder at once: each adds a file of its own, which appears complete or not
at all. Files of others are left alone. The facts of a run are those that `tier0 diff` compares, and what
counts as a change between two runs is decided by the same functions.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import urlsplit

from tier0.core.errors import reason_of
from tier0.core.fields import InvalidFieldError, read_list, read_object, read_optional, read_text, shown
from tier0.core.named_file import read_json
from tier0.report.diff import RANK, Change, Facts, facts_of, latency_change, metric_change, read_measured

SCHEMA = 1
SHOWN_RUNS = 30
"""Runs that the report shows as lines."""
MAX_RUNS = 1000
"""Runs that are kept in a folder; older ones are removed."""
MAX_BYTES = 1 << 20
"""Size of a file that is read; those that are written are much smaller, because of the next two limits."""
MAX_ENTRIES = 300
"""Checks, metrics, latencies and other facts of a run, each."""
MAX_TEXT = 200
"""Characters of a name or a text of a run."""
MAX_SKIPPED = 10
"""Files that are named because they could not be read; the others are counted."""
UNFINISHED_SECONDS = 3600
"""Age at which a file that a run began to write and did not complete is removed."""
MIN_FLIPS = 2
"""Changes between passed and failed, with the same model, from which on a check is flaky."""
LOOPBACK = {"localhost", "127.0.0.1", "::1", "0.0.0.0"}  # noqa: S104 - names in addresses; nothing is bound  # nosec B104
THIS_MACHINE = "this machine"
"""Subject of all services on the loopback interface, whose ports change from run to run."""
_NAME = re.compile(r"tier0-\d{8}T\d{12}Z-[0-9a-f]{8}\.json")
_TAG = re.compile(r"(?P<name>[\w.-]+(?<!\.py)(?=:)|models:/[^/@]+(?=[/@]))[:/@][\w.-]+")
_UNFINISHED = re.compile(r"\.tier0-\d{8}T\d{12}Z-[0-9a-f]{8}\.json\.unfinished")


@dataclass(frozen=True)
class Run:
    """A run that is kept.

    Attributes:
        at: end of the run, as ISO 8601 in UTC.
        subject: what was checked: address of a service, name of a client, or name of the data.
        facts: what is compared between runs.
    """

    at: str
    subject: str
    facts: Facts

    @property
    def tag(self) -> str | None:
        """The tag of the served model; None if it is unknown."""
        return self.facts.model.get("tag")

    def is_of_series(self, other: Run) -> bool:
        """Return whether both runs asked the same of the same subject."""
        return (self.facts.kind, self.subject) == (other.facts.kind, other.subject)


def remember(folder: Path, content: Mapping[str, Any], *, now: datetime | None = None) -> dict[str, Any]:
    """Keep a run in *folder*, and return what the history says about it.

    Args:
        folder: folder of the history; it is created if necessary.
        content: report of the run, of any command, without secrets.
        now: time of the run; the present by default.

    Returns:
        JSON types: ``runs`` (the last thirty of the same subject, this one last), ``kept`` (their number in
        the folder), ``checks``, ``lines``, ``skipped`` (files that are not runs, with the reason), and
        ``problem`` (why the run could not be kept; empty if it is kept).
    """
    moment = now or datetime.now(UTC)
    try:
        facts = facts_of(content)
    except InvalidFieldError as invalid:
        return {**_view([]), "problem": f"this run is not kept in {folder}: {invalid}"}
    run = Run(moment.isoformat(timespec="seconds"), _subject_of(content), _limited(facts))
    earlier, skipped, reason = list[Run](), list[str](), ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        earlier, skipped = read_runs(folder)
        _write(folder, run, moment)
        _remove_old(folder)
    except OSError as problem:
        reason = f"this run is not kept in {folder}: {problem.strerror}"
    series = [one for one in earlier if one.is_of_series(run)]
    return {**_view([*series, run]), "skipped": skipped, "problem": reason}


def read_runs(folder: Path) -> tuple[list[Run], list[str]]:
    """Return the runs in *folder*, oldest first, and which files are none, with the reason.

    Hidden files are ignored.

    Raises:
        OSError: the folder cannot be read.
    """
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    skipped = [f"{_short(name)}: not written by Tier0" for name in names if not _NAME.fullmatch(name)]
    runs: list[tuple[str, str, Run]] = []
    for name in list(filter(_NAME.fullmatch, names))[-MAX_RUNS:]:
        try:
            run = _run_in(read_json(folder / name, max_bytes=MAX_BYTES))
        except FileNotFoundError:
            continue  # another run has removed it as too old
        except (OSError, ValueError) as problem:
            reason = reason_of(problem)
            skipped.append(f"{_short(name)}: {reason}")
        else:
            runs.append((run.at, name, run))
    if (others := len(skipped) - MAX_SKIPPED) > 0:
        skipped = [*skipped[:MAX_SKIPPED], f"and {others} more"]
    return [run for *_, run in sorted(runs, key=lambda one: one[:2])], skipped


def _run_in(content: Any) -> Run:
    """Return the run that a file describes.

    Raises:
        ValueError: the content is something else.
    """
    entry = read_object(content, "the file")
    schema = entry.get("schema")
    if type(schema) is not int or schema != SCHEMA:
        raise ValueError(f"it has schema {shown(schema)}, but this version of Tier0 reads {SCHEMA}")
    facts = read_object(entry.get("facts"), "facts")
    at, verdict = read_text(entry.get("at"), "at"), read_text(facts.get("verdict"), "facts.verdict")
    if datetime.fromisoformat(at).utcoffset() is None:
        raise InvalidFieldError("at", "a time with its time zone", at)
    if verdict not in RANK:
        raise InvalidFieldError("facts.verdict", f"one of {', '.join(RANK)}", verdict)

    def mapping(name: str, read: Callable[[Any, str], Any]) -> dict[str, Any]:
        values = read_object(facts.get(name), f"facts.{name}")
        return {key: read(value, f"facts.{name}[{key!r}]") for key, value in values.items()}

    return Run(
        datetime.fromisoformat(at).astimezone(UTC).isoformat(timespec="seconds"),
        read_text(entry.get("subject"), "subject"),
        Facts(
            read_text(facts.get("kind"), "facts.kind"),
            verdict,
            mapping("checks", read_text),
            mapping("metrics", _read_metric),
            mapping("latencies", read_measured),
            mapping("versions", read_text),
            mapping("model", read_text),
            is_cut_short=facts.get("is_cut_short") is True,
        ),
    )


def _read_metric(value: Any, field: str) -> tuple[float, float | None]:
    numbers = read_list(value, field, lambda item, place: read_optional(item, place, read_measured))
    if len(numbers) != 2 or numbers[0] is None:
        raise InvalidFieldError(field, "a number and its spread", value)
    return numbers[0], numbers[1]


def _subject_of(content: Mapping[str, Any]) -> str:
    """Return what was checked, in a form that is the same from run to run."""
    if "done" in content:
        return _short(PurePath(str(content.get("options", {}).get("dataset") or "")).name)
    target = content["target"]
    if "client" in target:
        return _short(str(target["client"]))
    if "old" in target:
        return _short(" and ".join(_of_any_version(str(target[side])) for side in ("old", "new")))
    return _short(_of_any_port(str(target.get("url") or "")))


def _of_any_port(url: str) -> str:
    with suppress(ValueError):  # a URL without a valid host remains as it is
        if urlsplit(url).hostname in LOOPBACK:
            return THIS_MACHINE
    return url


def _of_any_version(side: str) -> str:
    """Return a side of a comparison without the version of its model or Bento."""
    tag = _TAG.fullmatch(side)
    return _of_any_port(side) if tag is None else tag["name"]


def _limited(facts: Facts) -> Facts:
    """Return facts of a limited size."""

    def limited(values: Mapping[str, Any]) -> dict[str, Any]:
        pairs = list(values.items())[:MAX_ENTRIES]
        return {_short(key): _short(value) if isinstance(value, str) else value for key, value in pairs}

    return Facts(
        facts.kind,
        facts.verdict,
        limited(facts.checks),
        limited(facts.metrics),
        limited(facts.latencies),
        limited(facts.versions),
        limited(facts.model),
        is_cut_short=facts.is_cut_short,
    )


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def _write(folder: Path, run: Run, moment: datetime) -> None:
    """Write the file of a run: under another name first, so that no other run reads a part of it.

    Raises:
        OSError: the file cannot be written.
    """
    name = f"tier0-{moment.astimezone(UTC):%Y%m%dT%H%M%S%f}Z-{os.urandom(4).hex()}.json"
    content = {"schema": SCHEMA, "at": run.at, "subject": run.subject, "facts": asdict(run.facts)}
    unfinished = folder / f".{name}.unfinished"
    try:
        unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        unfinished.replace(folder / name)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


def _remove_old(folder: Path) -> None:
    """Remove the oldest runs beyond `MAX_RUNS`, and what killed runs left half written."""
    names = [path.name for path in folder.iterdir()]
    old = sorted(name for name in names if _NAME.fullmatch(name))[:-MAX_RUNS]
    oldest = time.time() - UNFINISHED_SECONDS
    for name in filter(_UNFINISHED.fullmatch, names):
        with suppress(FileNotFoundError):
            if (folder / name).stat().st_mtime < oldest:
                old.append(name)
    for name in old:
        (folder / name).unlink(missing_ok=True)  # another run may have been faster


def _view(runs: Sequence[Run]) -> dict[str, Any]:
    """Return what the report shows of the runs of one subject, oldest first, the reported one last."""
    last = runs[-SHOWN_RUNS:]
    checks = dict.fromkeys(check for run in reversed(last) for check in run.facts.checks)
    return {
        "runs": [{"at": run.at, "verdict": run.facts.verdict, "tag": run.tag} for run in last],
        "kept": len(runs),
        "checks": [_check(check, runs, last) for check in checks],
        "lines": [
            *_lines("", last, lambda run: {name: value for name, (value, _) in run.facts.metrics.items()}),
            *_lines("ms", last, lambda run: run.facts.latencies),
        ],
        "skipped": [],
        "problem": "",
    }


def _check(check: str, runs: Sequence[Run], last: Sequence[Run]) -> dict[str, Any]:
    statuses = [run.facts.checks.get(check) for run in last]
    return {
        "id": check,
        "statuses": statuses,
        "changed": _last_change(statuses),
        "fails_since": _fails_since(check, runs),
        "flips": _flips(check, last),
    }


def _last_change(statuses: Sequence[str | None]) -> int | None:
    """Return the number of the run in which a check last got another status; None if it never did."""
    known = [(number, status) for number, status in enumerate(statuses) if status is not None]
    changes = [number for (_, before), (number, after) in pairwise(known) if before != after]
    return changes[-1] if changes else None


def _fails_since(check: str, runs: Sequence[Run]) -> dict[str, Any] | None:
    """Return since when a check fails; None if it does not fail in the last run.

    Runs that did not ask for it, or got no result, do not interrupt a series of failures.
    """
    if not runs or runs[-1].facts.checks.get(check) != "fail":
        return None
    failures = 0
    first, passed_at = runs[-1], None
    for run in reversed(runs):
        status = run.facts.checks.get(check)
        if status == "pass":
            passed_at = run.at
            break
        if status == "fail":
            first, failures = run, failures + 1
    return {"at": first.at, "runs": failures, "tag": first.tag, "passed_at": passed_at}


def _flips(check: str, runs: Sequence[Run]) -> int:
    """Return how often a check changed between passed and failed while the model stayed the same.

    It is 0 below `MIN_FLIPS`: a single change can be a defect, or its correction. A check that was not
    completed says nothing, since the network may have been the reason. An unknown tag does not count as
    another model.
    """
    flips, most, tag, status = 0, 0, None, None
    for run in runs:
        if run.tag is not None and tag is not None and run.tag != tag:
            flips, status = 0, None
        tag = run.tag or tag
        found = run.facts.checks.get(check)
        if found not in {"pass", "fail"}:
            continue
        flips += status is not None and found != status
        status, most = found, max(most, flips)
    return most if most >= MIN_FLIPS else 0


def _lines(
    unit: str, runs: Sequence[Run], values_of: Callable[[Run], Mapping[str, float]]
) -> Iterator[dict[str, Any]]:
    """Yield the values of each metric, or latency, in all runs, with the runs in which they changed."""
    change_in = latency_change if unit else metric_change
    for name in dict.fromkeys(name for run in reversed(runs) for name in values_of(run)):
        values = [values_of(run).get(name) for run in runs]
        yield {
            "name": f"latency {name}" if unit else name,
            "unit": unit,
            "values": [None if value is None or not math.isfinite(value) else value for value in values],
            "changes": _changes(name, runs, values, change_in),
        }


def _changes(
    name: str,
    runs: Sequence[Run],
    values: Sequence[float | None],
    change_in: Callable[[str, Facts, Facts], Iterator[Change]],
) -> list[dict[str, Any]]:
    """Return the runs in which a value got worse or better, each compared with the change before.

    A slow drift is found, too: it is compared with where it began.
    """
    changes: list[dict[str, Any]] = []
    level: Facts | None = None
    for number, (run, value) in enumerate(zip(runs, values, strict=True)):
        if value is None:
            continue
        if level is None or level.model.get("data") != run.facts.model.get("data"):
            level = run.facts
            continue
        for change in change_in(name, level, run.facts):
            if change.kind != "changed":
                changes.append(
                    {"run": number, "kind": change.kind, "before": change.before, "after": change.after}
                )
                level = run.facts
    return changes
