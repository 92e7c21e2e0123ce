"""The results of a comparison: each measure, judged against the limits and against the noise of one side."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tier0.comparison.answers import difference, differences, is_about, is_prediction
from tier0.comparison.chance import chance_of_as_many
from tier0.comparison.kinds import Kind, Outputs, Reference, kind_of, outputs_of
from tier0.comparison.latencies import latencies_of
from tier0.comparison.measures import (
    BINS_PER_DECADE,
    LAST_DECADE,
    Field,
    Measures,
    OneSided,
    SampledRow,
    bin_of,
)
from tier0.comparison.slices import FoundSlice, Marked, find_slices
from tier0.contract.response import last_name
from tier0.core.comparison_catalogue import ANSWERED, CLASS_ORDER, CONTRACT, FLIPS, LATENCY, SCORES
from tier0.core.display import line
from tier0.core.fields import shown
from tier0.core.verdict import CheckResult
from tier0.golden.differences.diagnosis import NO_PATTERN

MAX_CHANCE = 1e-3
"""Chance with which noise may look like a difference."""
MIN_STABLE = 4
"""Rows that differ in all repetitions, from which on they are not noise."""
MANY = 1e-3
UNSTEADY_SHARE = 0.5
MAX_LISTED = 5
MAX_ROWS_OF_KIND = 1000
"""Sampled rows, of all and of those that differ, from which the kind of a difference is found."""
MASK = "…"
QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
TOO_MANY = {429, 503}
NAMES_OF_CLASSES = {"classes", "class_names", "labels", "label_names", "categories"}
"""Names of a list of classes that belongs to a whole response."""
NOISY = 3.0
"""Largest noise, times this, is the smallest difference of a row that is called different."""


@dataclass
class Findings:
    """The results of a comparison.

    Attributes:
        measures: what was measured.
        statuses: for each kind of bad input, the status of the old and of the new side; None if they were
            not asked.
        mask: whether values of rows are hidden.
        reference: the golden rows that are one side; None if both are services.
    """

    measures: Measures
    statuses: Mapping[str, tuple[int, int]] | None = None
    mask: bool = False
    reference: Reference | None = None
    _kinds: dict[str, Kind] = field(default_factory=dict)
    _samples: dict[str, list[tuple[SampledRow, float, bool]]] = field(default_factory=dict)
    _found_slices: dict[str, list[FoundSlice]] = field(default_factory=dict)

    def results(self) -> list[CheckResult]:
        """Return one result for each check of the catalogue."""
        checks = (
            self.unanswered, self.contract, self.class_order, self.flips, self.scores, self.latency,
        )  # fmt: skip
        return [check() for check in checks]

    # what the fields are

    @cached_property
    def steady(self) -> dict[str, Field]:
        """The fields that are compared: those that describe a row, and that one side repeats."""
        return {
            path: known for path, known in self.measures.fields.items() if not self._is_unsteady(path, known)
        }

    def _is_unsteady(self, path: str, known: Field) -> bool:
        if not known.rows or path in self.measures.limits.ignore:
            return True
        varies = known.noise.rows and known.noise_changed > UNSTEADY_SHARE * known.noise.rows
        if is_about(path):
            return True
        is_output = is_prediction(path)
        if (
            known.is_constant
            and not is_output
            and len(self.measures.fields) > 1
            and known.changed == known.rows
        ):
            return True  # the tag of a model, or the like
        return bool(varies) and not known.is_numeric and not is_output

    @cached_property
    def outputs(self) -> Outputs:
        """The fields that are the decision and its score."""
        return outputs_of(self.steady, self.measures.limits.ignore)

    # what is noise

    def _beyond_noise(
        self, found: int, of: int, noise: int, of_noise: int, known: Field, *, is_exact: bool
    ) -> bool:
        """Return whether so many rows differ that it is not noise."""
        if not found:
            return False
        if is_exact:
            return known.stable > 0 or not known.unstable
        if known.stable >= MIN_STABLE and known.stable > 10 * known.unstable:
            return True
        return chance_of_as_many(found, of, noise, of_noise) <= MAX_CHANCE

    def _flips_of(self, known: Field) -> int:
        """Return the number of rows whose label differs, unless that is noise."""
        noise = known.noise_changed
        is_real = self._beyond_noise(
            known.changed, known.rows, noise, known.noise.rows, known, is_exact=not self._is_noisy
        )
        return known.changed if is_real and not self._is_tie(known) else 0

    @cached_property
    def _is_noisy(self) -> bool:
        """Whether some answer of one side is not repeated to the last bit."""
        return any(known.noise_changed for known in self.steady.values())

    def _is_tie(self, known: Field) -> bool:
        """Return whether the few rows that differ have scores that differ in their last bits."""
        score = self.steady.get(self.outputs.score)
        if score is None or known.changed > max(1, MANY * known.rows) or not self.measures.flipped_rows.items:
            return False
        for row in (kept.row() for kept in self.measures.flipped_rows.items):
            size = difference(row.old.get(self.outputs.score), row.new.get(self.outputs.score))
            if not 0 < size < math.inf or not score.allows(
                row.old[self.outputs.score], row.new[self.outputs.score], size, 0
            ):
                return False
        return True

    def _noise_of(self, known: Field) -> float:
        """Return the size above which a difference of a number is more than noise; 0 without any noise."""
        if not known.noise_beyond:
            return 0.0
        edges = [edge for edge in known.noise.counts if edge < LAST_DECADE * BINS_PER_DECADE]
        return NOISY * 10 ** ((max(edges, default=0) + 1) / BINS_PER_DECADE)

    def _differing_numbers(self, known: Field) -> int:
        """Return the number of rows whose numbers differ by more than the tolerance, unless that is noise."""
        if not known.noise_beyond:
            is_exact = not known.noise_changed or known.beyond > MANY * known.rows
            is_real = self._beyond_noise(
                known.beyond, known.rows, 0, known.noise.rows, known, is_exact=is_exact
            )
            return known.beyond if is_real else 0
        if self._beyond_noise(
            known.beyond, known.rows, known.noise_beyond, known.noise.rows, known, is_exact=False
        ):
            return known.beyond
        smallest = bin_of(max(self.measures.limits.difference, 1e-18))
        edges = sorted({edge for edge in known.tail.counts if edge > smallest})
        for edge in edges:
            found, noise = known.tail.above(edge), known.noise.above(edge)
            if chance_of_as_many(found, known.rows, noise, known.noise.rows) * len(edges) <= MAX_CHANCE:
                return found
        return 0

    # checks

    def unanswered(self) -> CheckResult:
        """Return whether each row has an answer from both sides or from neither."""
        measures = self.measures
        groups = (("the old side", measures.only_old), ("the new side", measures.only_new))
        found = [(name, group) for name, group in groups if group.examples]
        evidence: dict[str, Any] = {
            "rows": measures.rows,
            "only_old": measures.only_old.rows,
            "only_new": measures.only_new.rows,
            "neither": measures.neither.rows,
        }
        if not found:
            more = (
                f"{measures.neither.rows:,} rows are answered by neither side"
                if measures.neither.rows
                else ""
            )
            return CheckResult(ANSWERED, "pass", more, evidence)
        if all(set(group.statuses) <= TOO_MANY for _, group in found):
            message = "; ".join(self._one_sided(name, group) for name, group in found)
            return CheckResult(
                ANSWERED, "error", f"{message}: too many requests", evidence, code="overloaded"
            )
        slices = self._slices_of_unanswered()
        evidence |= {"kind": "unanswered", "slices": slices}
        message = "; ".join(self._one_sided(name, group) for name, group in found)
        return CheckResult(ANSWERED, "fail", _with_lines(message, slices), evidence)

    def _one_sided(self, name: str, group: OneSided) -> str:
        number, row, problem = group.examples[0]
        values = MASK if self.mask else shown(dict(row), 200)
        more = (
            f" (or up to {group.unseparated:,} more, in requests of several rows)"
            if group.unseparated
            else ""
        )
        return (
            f"only {name} answers {group.rows:,} of {self.measures.rows:,} rows{more}; the first is row "
            f"{number}, {values}: {MASK if self.mask else line(problem, limit=200)}"
        )

    def _slices_of_unanswered(self) -> list[str]:
        answered = [Marked(row.row, False, 1.0) for row, _, _ in self._rows]  # noqa: FBT003
        lost = [
            Marked(row, True, 1.0)  # noqa: FBT003
            for group in (self.measures.only_old, self.measures.only_new)
            for _, row, _ in group.examples
        ]
        return [self._shown(found, "lost") for found in find_slices([*answered, *lost])]

    def contract(self) -> CheckResult:
        """Return whether responses have the same fields and types, and bad input gets the same status."""
        changes = [*self._changed_fields(), *self._changed_types(), *self._changed_statuses()]
        statuses = {name: list(pair) for name, pair in (self.statuses or {}).items()}
        evidence: dict[str, Any] = {"statuses_for_bad_input": statuses}
        if versions := self._versions:
            evidence["versions"] = versions
        if not changes:
            return CheckResult(CONTRACT, "pass", versions, evidence)
        kinds = list(dict.fromkeys(kind for kind, _ in changes))
        evidence |= {"kind": kinds[0], "kinds": kinds, "changes": [text for _, text in changes]}
        return CheckResult(CONTRACT, "fail", "; ".join(text for _, text in changes[:MAX_LISTED]), evidence)

    def _changed_fields(self) -> Iterator[tuple[str, str]]:
        old, new = self.measures.presence
        count = self.measures.answers
        renamed = {*self.measures.renames, *self.measures.renames.values()}
        for after, before in self.measures.renames.items():
            yield "field_renamed", f"field {before} is now named {after}; its values are compared"
        for kind, verb, here, there, types in (
            ("field_removed", "removed", old, new, self.measures.types[0]),
            ("field_added", "added", new, old, self.measures.types[1]),
        ):
            gone = [
                path
                for path in here
                if path not in there and self._is_compared(path) and not _is_below(path, renamed)
            ]
            for path in gone:
                share = here[path] / count
                if (1 - share) ** count > MAX_CHANCE and share < 1:
                    continue  # a field that is rarely there
                if any(path.startswith(f"{parent}.") for parent in gone if parent):
                    continue  # its parent is listed
                yield kind, f"field {path or 'of the whole response'} was {verb} ({_types(types[path])})"

    def _is_compared(self, path: str) -> bool:
        ignored = self.measures.limits.ignore
        return (
            path not in ignored
            and path not in self.measures.unsteady
            and path.replace("*.", "") not in ignored
        )

    def _changed_types(self) -> Iterator[tuple[str, str]]:
        old, new = self.measures.types
        for path in old:
            if path not in new or not self._is_compared(path):
                continue
            before, after = set(old[path]), set(new[path])
            appeared = after - before
            vanished = before - after
            if appeared and (vanished or appeared == {"null"}):
                yield (
                    "type",
                    f"the type of {path or 'the whole response'} was {_types(before)} and is {_types(after)}",
                )

    def _changed_statuses(self) -> Iterator[tuple[str, str]]:
        for name, (old, new) in (self.statuses or {}).items():
            if old != new:
                yield "status", f"{name} got status {old}, and now gets {new}"

    @cached_property
    def _versions(self) -> str:
        """What the responses say about the model or the server, if both sides always say another thing."""
        found = []
        old, new = self.measures.about
        for path in old:
            before, after = old[path], new.get(path, Counter())
            if (
                len(before) == 1 == len(after)
                and before.keys() != after.keys()
                and path not in self.measures.unsteady
            ):
                found.append(f"{path}: {_plain(next(iter(before)))}, now {_plain(next(iter(after)))}")
        for path, known in self.measures.fields.items():
            if known.is_constant and known.changed == known.rows and path not in self.steady:
                before_key, after_key = next(iter(known.old_labels)), next(iter(known.new_labels))
                found.append(f"{path}: {_plain(before_key)}, now {_plain(after_key)}")
        return "; ".join(found[:MAX_LISTED])

    def class_order(self) -> CheckResult:
        """Return whether both sides have the same order of classes."""
        old, new = self.measures.about
        for path in old:
            before, after = old[path], new.get(path, Counter())
            if len(before) != 1 or len(after) != 1:
                continue
            one, other = next(iter(before)), next(iter(after))
            are_lists = one[0] == other[0] == "list" and self._are_classes(path, one[1])
            if are_lists and one != other and Counter(one[1]) == Counter(other[1]):
                message = f"{path} was {_plain(one)} and is {_plain(other)}"
                evidence = {"kind": "class_order", "old": _plain(one), "new": _plain(other)}
                causes = ["the classes have another order than in the old model"]
                return CheckResult(CLASS_ORDER, "fail", message, evidence, causes)
        for path in (self.outputs.score, self.outputs.decision):
            kind = self._kind(path)
            if kind is not None and kind.name == "class_order":
                return CheckResult(
                    CLASS_ORDER,
                    "fail",
                    f"{path}: {self._sentence(kind)}",
                    {"kind": "class_order"},
                    list(kind.causes),
                )
        return CheckResult(CLASS_ORDER, "pass")

    def _are_classes(self, path: str, items: Sequence[Any]) -> bool:
        """Return whether a list outside of the rows has the classes, by its name or by the labels of rows."""
        decision = self.steady.get(self.outputs.decision)
        labels = set() if decision is None else set(decision.old_labels)
        return last_name(path) in NAMES_OF_CLASSES or (bool(labels) and labels <= set(items))

    def flips(self) -> CheckResult:
        """Return whether both sides take the same decisions."""
        labels = {path: known for path, known in self.steady.items() if not known.is_numeric}
        return self._judged(FLIPS, labels, "flipped", "no field of the responses is a decision")

    def scores(self) -> CheckResult:
        """Return whether both sides return the same numbers."""
        numbers = {path: known for path, known in self.steady.items() if known.is_numeric}
        return self._judged(SCORES, numbers, "differ", "no field of the responses is a score")

    def _judged(self, id_: str, fields: Mapping[str, Field], verb: str, reason: str) -> CheckResult:
        if not self.measures.answers:
            return CheckResult(id_, "not_judged", "no request got values for each row from both sides")
        if not self.steady and id_ == SCORES:
            return CheckResult(id_, "error", "the responses have no values per row that could be compared")
        if not fields:
            return CheckResult(id_, "not_judged", reason, code="not_offered")
        failed = [path for path, known in fields.items() if self._exceeded(id_, known)]
        path = self._first(failed or list(fields))
        known = fields[path]
        count = self._real(id_, known)
        evidence: dict[str, Any] = {
            "field": path,
            "rows": known.rows,
            "differing": count,
            "rows_asked_twice": known.noise.rows,
            "noise": known.noise_changed,
        }
        if id_ == SCORES and not self.mask:
            evidence |= self._distribution(known)
        if not failed:
            found = f"{count:,} of {known.rows:,} rows {verb}, within the limits" if count else ""
            return CheckResult(id_, "pass", found, evidence)
        kind = self._kind(path) or Kind("unknown", NO_PATTERN)
        slices = [self._shown(found, verb) for found in self._slices(path)]
        evidence |= {"kind": kind.name, "slices": slices, "fields": failed, "largest": self._largest(known)}
        if id_ == FLIPS and not self.mask:
            evidence["flips"] = [
                [_plain(old), _plain(new), number]
                for (old, new), number in known.flips.most_common(MAX_LISTED)
            ]
        share = count / known.rows
        size = self._largest_size(known) if id_ == SCORES else ""
        also = [other for other in failed if other != path]
        others = f" (also {', '.join(also)})" if also else ""
        where = f"{path or 'the response'}{others}"
        message = (
            f"{count:,} of {known.rows:,} rows {verb} ({share:.2%}) in {where}{size}: {self._sentence(kind)}"
        )
        return CheckResult(
            id_,
            "fail",
            _with_lines(message, [*self._exceeded(id_, known), *slices]),
            evidence,
            list(kind.causes),
        )

    def _sentence(self, kind: Kind) -> str:
        """Return the kind of a difference as a clause; only its name if values of rows are hidden."""
        return f"kind of difference: {kind.name}" if self.mask else kind.sentence

    def _first(self, paths: Sequence[str]) -> str:
        chosen = (self.outputs.decision, self.outputs.score)
        return next((path for path in chosen if path in paths), paths[0])

    def _real(self, id_: str, known: Field) -> int:
        return self._flips_of(known) if id_ == FLIPS else self._differing_numbers(known)

    def _exceeded(self, id_: str, known: Field) -> list[str]:
        """Return the limits that are exceeded, as lines; an empty one for a limit that was not given."""
        if not self._real(id_, known):
            return []
        limits, lines = self.measures.limits, []
        for place, (rows, changed, beyond) in known.by_slice.items():
            found = changed if id_ == FLIPS else beyond
            allowed = limits.flips_of(place) * rows if id_ == FLIPS else 0.0
            if found <= allowed:
                continue
            where = "" if place < 0 else f" where {limits.slices[place].rows}"
            limit = limits.flips_of(place) if id_ == FLIPS else limits.difference_of(place)
            named = f"{limit:.3%}" if id_ == FLIPS else f"{limit:g}"
            what = "rows may flip" if id_ == FLIPS else "is the allowed difference"
            lines.append(f"{found:,} of {rows:,} rows{where}; {named} {what}" if limit or where else "")
        return lines

    def _distribution(self, known: Field) -> dict[str, Any]:
        """Return quantiles of the numbers of both sides, and of their differences."""
        pairs = [
            pair
            for old, new in known.pairs.items
            for pair in zip(_flat(old)[-1:], _flat(new)[-1:], strict=False)
            if all(isinstance(value, (int, float)) and _is_finite(value) for value in pair)
        ]
        if not pairs:
            return {}
        return {
            "quantiles": list(QUANTILES),
            "old": _quantiles([float(old) for old, _ in pairs]),
            "new": _quantiles([float(new) for _, new in pairs]),
            "difference": _quantiles([float(new) - float(old) for old, new in pairs]),
        }

    def _largest(self, known: Field) -> list[dict[str, Any]]:
        return [
            {
                "row_number": one.row_number,
                "old": MASK if self.mask else one.old,
                "new": MASK if self.mask else one.new,
                "row": MASK if self.mask else dict(one.row),
            }
            for one in sorted(known.largest, reverse=True, key=lambda one: (one.size, one.order))
        ]

    def _largest_size(self, known: Field) -> str:
        sizes = [one.size for one in known.largest if math.isfinite(one.size)]
        return f", by at most {max(sizes):.3g}" if sizes and not self.mask else ""

    # where the differences sit

    def _kind(self, path: str) -> Kind | None:
        """Return the kind of the difference of a field; None without a difference."""
        known = self.steady.get(path)
        if known is None:
            return None
        count = self._real(SCORES if known.is_numeric else FLIPS, known)
        if not count:
            return None
        if path not in self._kinds:
            score = self.steady.get(self.outputs.score)
            scores_differ = score is not None and self._differing_numbers(score) > 0
            sample = self._sample(path)
            sample = (
                sample[:: max(1, len(sample) // MAX_ROWS_OF_KIND)]
                + [one for one in sample if one[2]][:MAX_ROWS_OF_KIND]
            )
            rows, differing = [one[0] for one in sample], [one[2] for one in sample]
            kind = kind_of(
                rows,
                differing,
                Outputs(self.outputs.decision, path)
                if known.is_numeric
                else Outputs(path, self.outputs.score),
                share=count / known.rows,
                scores_differ=scores_differ,
                slices=self._slices(path),
                versions=self._versions,
                follow_scores=scores_differ and not known.is_numeric,
                reference=self._kind_of_reference,
            )
            if kind.name == "unknown" and not known.is_numeric and self.outputs.score:
                kind = self._kind(self.outputs.score) or kind  # the decisions follow the scores
            self._kinds[path] = kind
        return self._kinds[path]

    @cached_property
    def _kind_of_reference(self) -> Kind | None:
        return None if self.reference is None else self.reference.kind([row for row, _, _ in self._rows])

    def _sample(self, path: str) -> list[tuple[SampledRow, float, bool]]:
        """Return the sampled rows, the number of rows that each stands for, and whether its values differ."""
        if path not in self._samples:
            rows = [sampled for sampled in self._rows if path in sampled[0].old]
            differ = iter(self._differ(path, [row for row, _, is_changed in rows if is_changed]))
            self._samples[path] = [
                (row, weight, is_changed and next(differ)) for row, weight, is_changed in rows
            ]
        return self._samples[path]

    @cached_property
    def _rows(self) -> list[tuple[SampledRow, float, bool]]:
        """The sampled rows, with the number of rows that each stands for, and whether any field differs."""
        return list(self.measures.sampled())

    def _differ(self, path: str, rows: Sequence[SampledRow]) -> list[bool]:
        """Return for each sampled row whether its values differ by more than noise."""
        known = self.steady[path]
        old, new = [row.old.get(path) for row in rows], [row.new.get(path) for row in rows]
        sizes = differences(old, new)
        if sizes is None:
            sizes = list(map(difference, old, new))
        if not known.is_numeric:
            return [size > 0 for size in sizes]
        allowed = max(
            self.measures.limits.difference, self.measures.tolerances.get(path, 0.0), self._noise_of(known)
        )
        return [
            size > allowed and not known.allows(before, after, size, allowed)
            for before, after, size in zip(old, new, sizes, strict=True)
        ]

    def _slices(self, path: str) -> list[FoundSlice]:
        if path not in self._found_slices:
            marked = [Marked(row.row, differs, weight) for row, weight, differs in self._sample(path)]
            self._found_slices[path] = find_slices(marked)
        return self._found_slices[path]

    def _shown(self, found: FoundSlice, verb: str) -> str:
        if self.mask:
            names = dict.fromkeys(condition.column for condition in found.rows.conditions)
            return f"a slice of {', '.join(names)}: {found.differing} of {found.count} {verb}"
        return found.in_words(verb)

    def latency(self) -> CheckResult:
        """Return whether the new side is as fast as the old one, beyond the spread of the old one."""
        pairs = self.measures.latencies.items
        found = latencies_of(pairs, self.measures.noise_latencies.items)
        if found is None:
            return CheckResult(LATENCY, "not_judged", "too few pairs of requests to compare latencies")
        evidence = {
            "requests": found.pairs,
            "old_median_seconds": found.old,
            "new_median_seconds": found.new,
            "old_quantiles": _quantiles([old for old, _ in pairs]),
            "new_quantiles": _quantiles([new for _, new in pairs]),
            "ratio": found.ratio,
            "ratio_of_old_to_itself": found.spread,
        }
        old, new = (f"{1000 * seconds:.3g} ms" for seconds in (found.old, found.new))
        what = f"median latency {old}, now {new} ({found.ratio:.2g} times)"
        if found.judged(self.measures.limits.slower) != "slower":
            return CheckResult(LATENCY, "pass", what, evidence)
        evidence["kind"] = "latency"
        return CheckResult(LATENCY, "fail", what, evidence, ["each request takes longer on the new side"])


def _is_below(path: str, parents: set[str]) -> bool:
    """Return whether a path is one of some others, or belongs to one of them."""
    return path in parents or any(path.startswith(f"{parent}.") for parent in parents)


def _types(types: Any) -> str:
    return " or ".join(sorted(types))


def _plain(key: Any) -> str:
    kind, value = key
    if kind == "list":
        return f"[{', '.join(map(_plain, value))}]"
    return shown(value)


def _flat(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_finite(value: Any) -> bool:
    return not isinstance(value, bool) and math.isfinite(value)


def _quantiles(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    return [ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in QUANTILES]


def _with_lines(message: str, lines: Sequence[str]) -> str:
    return "\n".join([message, *(f"  {text}" for text in dict.fromkeys(lines) if text)])
