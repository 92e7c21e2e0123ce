"""Comparison of two deployments: what each side is, the rows that both are asked, and the verdict."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tier0.checks.serving.harness.sender import OversizedError, UnansweredError
from tier0.checks.serving.harness.target import NoPredictionError, Target
from tier0.comparison.asking import Asking, NotComparableError
from tier0.comparison.batches import BATCH, Batch, RowSource
from tier0.comparison.drafts import drafted_rows
from tier0.comparison.findings import Findings
from tier0.comparison.kinds import Reference
from tier0.comparison.limits import Limits
from tier0.comparison.measures import Measures
from tier0.comparison.sides import GoldenSide, ServiceSide, Side
from tier0.contract.contract import Contract, ContractError, check_declared
from tier0.contract.model_terms import as_served
from tier0.contract.service_schema import (
    Described,
    row_properties,
    undescribed,
    why_fields_are_open,
)
from tier0.core.errors import Tier0Error
from tier0.core.secrets import Secrets
from tier0.core.verdict import CheckResult, Verdict
from tier0.faults.background import BackgroundLoop
from tier0.golden.rows import GoldenRows
from tier0.runs.deployment import Deployment, default_store
from tier0.runs.discovery import description, discover
from tier0.runs.examination import Examination
from tier0.runs.services import Services
from tier0.serving.entry import GOLDEN_FILE, find_entry

MLFLOW = ("models:/", "runs:/", "mlflow-artifacts:/")
SAMPLE = 3
"""Rows with which the form of requests is found."""
FORMS = (
    "a URL, a file of golden rows (.json), a tag of a registered model or a Bento, path/to/file.py:Class, a "
    "folder of a service, or models:/NAME/VERSION of MLflow"
)
CLOSE_TIMEOUT = 4.0


@dataclass
class _Opened:
    """One side before the form of its requests is known.

    Attributes:
        name: what the user called it.
        deployment: the service; None for golden rows.
        golden: golden rows of the side; None without any.
        is_golden: whether the golden rows are the side.
        target: the service, once it is reached.
        described: its description, once it is read.
    """

    name: str
    deployment: Deployment | None = None
    golden: GoldenRows | None = None
    is_golden: bool = False
    target: Target | None = None
    described: Described | None = None

    @property
    def contract(self) -> Contract | Mapping[str, Any] | None:
        """The contract of the service, or the declared part of it."""
        return None if self.deployment is None else self.deployment.contract


def compare(
    old: str | Path | Deployment | GoldenRows,
    new: str | Path | Deployment | GoldenRows,
    *,
    rows: Path | str | None = None,
    golden: Path | str | GoldenRows | None = None,
    limits: Path | str | Limits | None = None,
    allow_flips: float | str | None = None,
    allow_difference: float | str | None = None,
    on_fail: Literal["raise", "return"] = "raise",
    store: Path | str | None = None,
    disturb: Literal["none", "malformed"] = "malformed",
    mask: bool = False,
    startup_timeout: float = 60.0,
    tell: Callable[[CheckResult], None] = lambda _: None,
    report: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> Verdict:
    """Compare a new service with an old one, by what both answer to the same rows.

    Both are asked at the same time and in the same batches. The old one is asked some of them twice: what
    differs between its own answers is noise, and no difference.

    Args:
        old: the known side: a deployment, golden rows, or text: a URL, a file of golden rows, a tag of a
            registered model or a Bento, ``file.py:Class``, a folder, or a URI of MLflow.
        new: the side that is compared with it.
        rows: CSV file with a header, or a .jsonl file with the body of one request per line.
        golden: golden rows, or a file with them, whose rows both sides are asked. Without *rows* and
            *golden*, the golden rows of a side are used, or else rows that are drafted from the old side's
            description.
        limits: file of limits, see `tier0.comparison.limits`.
        allow_flips: share of the rows whose decision may differ, such as ``0.5%``.
        allow_difference: absolute difference of a number that does not count.
        on_fail: ``raise`` to raise `DoesNotHoldError` unless the verdict is ``pass``, or ``return``.
        store: BentoML home with registered models; by default ``BENTOML_HOME``, or ``~/bentoml``.
        disturb: ``malformed`` also sends a few bodies that must be refused, to compare the statuses.
        mask: leave out the values of rows in messages and evidence.
        startup_timeout: seconds until a service that is started must be ready.
        tell: called with each result.
        report: called with a line of progress every two seconds.
        options: ``contract``, ``protocol``, ``headers``, ``ca``, ``retries``, ``wait`` and ``rate`` of both
            services, as in `Deployment.from_url`.

    Raises:
        Tier0Error: a side cannot be reached or started, the rows cannot be read, or a limit is invalid.
        DoesNotHoldError: the sides differ by more than the limits allow.
    """
    allowed = (
        limits
        if isinstance(limits, Limits)
        else Limits.read(limits, flips=allow_flips, difference=allow_difference)
    )
    source = None if rows is None else RowSource.read(Path(rows))
    given = GoldenRows.read(golden) if isinstance(golden, (str, Path)) else golden
    with ExitStack() as stack:
        sides = [
            _opened(side, stack, Path(store or default_store()), startup_timeout, options)
            for side in (old, new)
        ]
        loop = BackgroundLoop("tier0-compare")
        stack.callback(lambda: loop.close(timeout=CLOSE_TIMEOUT))
        comparison = _Comparison(sides[0], sides[1], source, given, allowed, disturb, mask, report)
        try:
            verdict = loop.run(comparison.run(), timeout=None)
        finally:
            loop.run(comparison.close(), timeout=CLOSE_TIMEOUT)
    headers = dict(options.get("headers") or {})
    hidden = Secrets(os.environ, headers)
    verdict = replace(verdict, checks=[result.without(hidden) for result in verdict.checks])
    for result in verdict.checks:
        tell(result)
    if on_fail == "raise":
        verdict.raise_for_status()
    return verdict


def _opened(
    side: str | Path | Deployment | GoldenRows,
    stack: ExitStack,
    store: Path,
    startup_timeout: float,
    options: Mapping[str, Any],
) -> _Opened:
    """Return one side; a service that is started for it is stopped with *stack*.

    Raises:
        Tier0Error: it is none of the known forms, or cannot be started.
    """
    if isinstance(side, Deployment):
        return _Opened(side.url, side, side.golden)
    if isinstance(side, GoldenRows):
        return _Opened("golden rows", None, side, is_golden=True)
    text = str(side)
    if text.startswith(("http://", "https://")):
        return _Opened(text, Deployment.from_url(text, **options))
    if "://" in text and not text.startswith(MLFLOW):
        raise Tier0Error(f"cannot compare {text!r}: expected {FORMS}")
    if text.endswith(".json"):
        return _Opened(text, None, GoldenRows.read(text), is_golden=True)
    started = {"store": store, "startup_timeout": startup_timeout}
    if (launch := _launch_of(text, store)) is not None:
        others = {name: value for name, value in options.items() if name != "ca"}
        return _Opened(text, stack.enter_context(launch(**started, **others)))
    return _registered(text, stack, store, startup_timeout)


def _launch_of(text: str, store: Path) -> Callable[..., Deployment] | None:
    """Return the function that starts a service of the user's; None if *text* can only be a model's tag."""
    if text.startswith(MLFLOW):
        command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", text, "--env-manager", "local"]
        return partial(Deployment.from_command, [*command, "--port", "{port}"])
    if (folder := _bento_of(text, store)) is not None:
        return partial(Deployment.from_service, str(folder))
    if "/" in text or ".py:" in text or Path(text).is_dir():
        return partial(Deployment.from_service, text)
    return None


def _bento_of(tag: str, store: Path) -> Path | None:
    """Return the folder of a Bento in the store; None if there is none of this tag."""
    name, _, version = tag.partition(":")
    bentos = store / "bentos" / name
    try:
        if version in {"", "latest"} and (bentos / "latest").is_file():
            version = (bentos / "latest").read_text(encoding="utf-8").strip()
        is_bento = bool(name) and "/" not in tag and (bentos / version / "bento.yaml").is_file()
    except (OSError, ValueError):
        return None
    return bentos / version if is_bento else None


def _registered(tag: str, stack: ExitStack, store: Path, startup_timeout: float) -> _Opened:
    """Return the side of a registered model, which is served for it.

    Raises:
        Tier0Error: there is no such model.
    """
    try:
        exact, path = find_entry(tag, store)
    except Tier0Error as problem:
        raise Tier0Error(f"cannot compare {tag!r}: expected {FORMS}. As a tag: {problem}") from problem
    if not (path / GOLDEN_FILE).exists():
        raise Tier0Error(
            f"model {exact} was not registered by Tier0: serve it, and pass the URL of its service"
        )
    services = stack.enter_context(
        Services.from_store(store, [exact], first_port=0, startup_timeout=startup_timeout)
    )
    deployment = services.deployment(exact.partition(":")[0])
    return _Opened(exact, deployment, deployment.golden)


@dataclass
class _Comparison:
    """One comparison, on its event loop."""

    old: _Opened
    new: _Opened
    source: RowSource | None
    golden: GoldenRows | None
    limits: Limits
    disturb: str
    mask: bool
    report: Callable[[str], None]
    _targets: list[Target] = field(default_factory=list)

    async def run(self) -> Verdict:
        """Ask both sides, and return the verdict."""
        for side in (self.old, self.new):
            if side.deployment is not None:
                side.target = await Examination(side.deployment, self.report).reach()
                self._targets.append(side.target)
        if self.old.is_golden and self.new.is_golden:
            raise NotComparableError("both sides are golden rows: at least one must be a service")
        reference = None
        if self.old.is_golden or self.new.is_golden:
            old, new, source, reference = await self._with_golden_side()
        else:
            old, new, source = await self._both_services()
        allowed = {} if reference is None else reference.tolerance
        tolerances = {part: tolerance.absolute for part, tolerance in allowed.items()}
        size = min(BATCH, *(side.max_rows or BATCH for side in (old, new)))
        measures = Measures(self.limits, tolerances)
        await Asking(old, new, measures, self.report).run(source.batches(size))
        if not measures.answers and not measures.only_old.miscounted and not measures.only_new.miscounted:
            raise NotComparableError(_why_no_answers(old, new, measures))
        statuses = None
        if self.disturb != "none" and isinstance(old, ServiceSide) and isinstance(new, ServiceSide):
            statuses = await _statuses_for_bad_input(old, new, next(source.batches(1)))
        results = Findings(measures, statuses, self.mask, reference).results()
        facts = {
            "old": self.old.name,
            "new": self.new.name,
            "url": self.new.name,
            "rows": measures.rows,
            "rows_asked_twice": measures.repeated_rows,
            "retried": _retried(self._targets),
            **_assumed((old, new)),
        }
        return Verdict(facts, results)

    async def close(self) -> None:
        """Close all connections."""
        for target in self._targets:
            for http in (target.sender.http, target.sender.fresh):
                if http is not None:
                    await http.aclose()

    async def _with_golden_side(self) -> tuple[Side, Side, RowSource, Reference]:
        """Return both sides if one is golden rows, whose terms the answers of the other are read in."""
        if self.source is not None or self.golden is not None:
            raise NotComparableError(
                "one side is golden rows, whose own rows are compared: omit --rows and --golden"
            )
        golden = (self.old if self.old.is_golden else self.new).golden
        service = self.new if self.old.is_golden else self.old
        if golden is None or service.target is None:
            raise NotComparableError("golden rows and a service are needed")
        target = await discover(replace(service.target, rows=golden, mask=self.mask), service.contract)
        if target.undeclared:
            raise ContractError(target.what_is_undeclared)
        if target.contract.why_not_asked:
            raise ContractError(target.contract.why_not_asked)
        examples = golden.examples
        asked = ServiceSide(service.name, target, golden=examples)
        kept = GoldenSide(
            (self.old if self.old.is_golden else self.new).name, as_served(examples, target.contract)
        )
        sides: tuple[Side, Side] = (kept, asked) if self.old.is_golden else (asked, kept)
        reference = Reference(kept.golden, target.tolerances(), is_old=self.old.is_golden)
        return *sides, RowSource(tuple(golden.columns), rows=examples.rows), reference

    async def _both_services(self) -> tuple[ServiceSide, ServiceSide, RowSource]:
        golden = self.golden or self.old.golden or self.new.golden
        source = self.source
        if source is None and golden is not None:
            source = RowSource(tuple(golden.columns), rows=golden.rows)
        columns = (
            tuple(golden.columns) if golden is not None else source.columns if source is not None else ()
        )
        is_recorded = source is not None and not source.columns
        contracts = [await _declared(side, columns, is_recorded=is_recorded) for side in (self.old, self.new)]
        if source is None:
            source = drafted_rows(self.old.described, contracts[0])
        source = source.with_texts(_text_columns(self.old.described, contracts[0], source.columns))
        if golden is not None and source.columns and set(golden.columns) <= set(source.columns):
            columns = tuple(golden.columns)
        else:
            columns = source.columns
        sample = next(source.batches(SAMPLE))
        sides = []
        for side, contract in zip((self.old, self.new), contracts, strict=True):
            sides.append(await _with_form(side, contract, sample, columns))
        return sides[0], sides[1], source


async def _declared(side: _Opened, columns: Sequence[str], *, is_recorded: bool) -> Contract:
    """Return the contract of a side as far as it is declared or described; note its description.

    Raises:
        ContractError: it is not described, and too little is declared.
    """
    if isinstance(side.contract, Contract):
        return side.contract
    declared = check_declared(side.contract or {})
    wanted = declared.pop("protocol", None)
    if is_recorded and "route" in declared:
        return undescribed(declared, is_bentoml=False)
    assert side.target is not None  # noqa: S101 - it is a service, which was reached
    schema, side.described = await description(side.target, wanted, declared, columns)
    if side.described is None:
        return undescribed(declared, is_bentoml=schema is not None)
    contract = side.described.contract
    if contract.why_not_asked:
        raise ContractError(contract.why_not_asked)
    if side.described.required and not is_recorded:
        raise ContractError(why_fields_are_open(contract.route, side.described.required))
    return contract


def _text_columns(described: Described | None, contract: Contract, columns: Sequence[str]) -> list[str]:
    """Return the columns that the service wants as text."""
    if described is None:
        return []
    properties = row_properties(described.input, contract.features)
    return [
        name for name in columns if properties.get(contract.names.get(name, name), {}).get("type") == "string"
    ]


async def _with_form(side: _Opened, contract: Contract, sample: Batch, columns: Sequence[str]) -> ServiceSide:
    """Return the side with the first form of requests that gets predictions for a few rows.

    Raises:
        NotComparableError: none of them does.
    """
    assert side.target is not None  # noqa: S101 - it is a service, which was reached
    if sample.request is not None:
        return ServiceSide(side.name, replace(side.target, contract=contract, rows=None))
    problem = ""
    for candidate in _forms(side, contract):
        target = replace(side.target, contract=candidate, rows=None)
        asked = ServiceSide(side.name, target, _sent(side, candidate, columns))
        rows = sample if not candidate.one_row else sample.part(0, 1)
        answer = await asked.ask(rows)
        if not answer.problem:
            return asked
        problem = problem or answer.problem
        if answer.is_network:
            break
    raise NotComparableError(f"{side.name} does not answer the first rows: {problem}")


def _forms(side: _Opened, contract: Contract) -> list[Contract]:
    """Return the contracts to try: each form of the description, then each of them with one row a request."""
    if isinstance(side.contract, Contract) or side.described is None:
        return [contract, replace(contract, max_rows=1)]
    declared = check_declared(side.contract or {})
    found = [
        replace(
            contract,
            features=form.features,
            style=form.style,
            max_rows=declared.get("max_rows", form.max_rows),
            **{name: value for name, value in form.others.items() if name not in declared},
        )
        for form in side.described.forms
    ] or [contract]
    return [*found, *(replace(form, max_rows=1) for form in found if not form.one_row)]


def _sent(side: _Opened, contract: Contract, columns: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that the service knows, if its description names them."""
    properties = {} if side.described is None else row_properties(side.described.input, contract.features)
    known = tuple(name for name in columns if contract.names.get(name, name) in properties)
    return known if known and contract.by_name else tuple(columns)


async def _statuses_for_bad_input(
    old: ServiceSide, new: ServiceSide, batch: Batch
) -> dict[str, tuple[int, int]]:
    """Return the statuses of both sides for bodies that must be refused, if the old one repeats its own."""
    statuses = {}
    for name in (
        "a body that is not JSON",
        "an empty object",
        "null",
        "text for the first value",
        "a row without a value",
    ):
        before, after = await asyncio.gather(
            *(_status(side, _bad_body(name, side, batch)) for side in (old, new))
        )
        is_steady = before == after or before == await _status(old, _bad_body(name, old, batch))
        if is_steady and 0 not in {before, after}:
            statuses[name] = (before, after)
    return statuses


def _bad_body(name: str, side: ServiceSide, batch: Batch) -> bytes | None:
    simple = {"a body that is not JSON": b"{", "an empty object": b"{}", "null": b"null"}
    if name in simple:
        return simple[name]
    sent = list(side.sent or batch.columns)
    if batch.request is not None or not sent:
        return None
    record = batch.record(0)
    if name == "text for the first value":
        if isinstance(record.get(sent[0]), str):
            return None
        record[sent[0]] = "not a number"
    else:
        sent = sent[1:]
    if not sent:
        return None
    row = [record.get(column) for column in sent]
    return side.target.request(sent, [row]).encode()


async def _status(side: ServiceSide, body: bytes | None) -> int:
    """Return the status of the response to any body; 0 without a response, or without a body."""
    if body is None:
        return 0
    try:
        return (await side.target.post(body)).status_code
    except (UnansweredError, OversizedError, NoPredictionError):
        return 0


def _retried(targets: Sequence[Target]) -> dict[str, int]:
    found: dict[str, int] = {}
    for target in targets:
        for reason, count in target.sender.retried.items():
            found[reason] = found.get(reason, 0) + count
    return found


def _assumed(sides: Sequence[Side]) -> dict[str, str]:
    """Return the line about what is used of a service without a declaration; see `Target.what_is_assumed`."""
    lines = [side.target.what_is_assumed for side in sides if isinstance(side, ServiceSide)]
    known = "; ".join(filter(None, lines))
    return {"assumed": known} if known else {}


def _why_no_answers(old: Side, new: Side, measures: Measures) -> str:
    groups = (
        (f"{new.name} answers none", measures.only_old),
        (f"{old.name} answers none", measures.only_new),
        ("neither side answers any", measures.neither),
    )
    name, group = max(groups, key=lambda pair: pair[1].rows)
    reason = group.examples[0][2] if group.examples else "there are no rows"
    return f"nothing could be compared: {name} of the {measures.rows:,} rows: {reason}"
