"""What agents ask models with: one model about one entity, several models at once, and a tool that a framework can list and call."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tier0.client import BentoMLClient, ClientError, InvalidAnswerError
from tier0.integrations import is_bug, to_http_error

LOG = logging.getLogger(__name__)
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class ModelAnswer:
    """What one model said about one entity.

    Attributes:
        entity: that was asked about.
        model: that was asked.
        model_tag: that answered; None where the service does not say.
        horizon: as it was asked; None for a model without one.
        prediction: a label or a number.
        probabilities: class to probability; None without them.
        interval: the lower and the upper bound of the prediction; None without them.
        latency_ms: as the service measured it.
    """

    entity: str
    model: str
    model_tag: str | None
    horizon: int | None
    prediction: Any
    probabilities: dict[str, float] | None
    interval: list[float] | None
    latency_ms: float | None


def name_with_horizon(model: str, horizon: int | None) -> str:
    """Return the name under which the model for *horizon* is served: ``ltv`` and 90 give ``ltv_90``."""
    return model if horizon is None else f"{model}_{horizon}"


class HTTPModelClient:
    """Asks one model about one entity at a time.

    Args:
        client: asks the services; one client may serve many models.
        model: its name, without a horizon.
        name_of: from the model's name and the horizon to the name under which it is served.
    """

    def __init__(
        self,
        client: BentoMLClient,
        model: str,
        *,
        name_of: Callable[[str, int | None], str] = name_with_horizon,
    ) -> None:
        self.model = model
        self._client = client
        self._name_of = name_of

    async def predict(
        self,
        entity: str,
        features: Mapping[str, Any],
        horizon: int | None = None,
        *,
        timeout: float | None = None,
    ) -> ModelAnswer:
        """Ask about one entity.

        Args:
            entity: whom or what it is about; only returned with the answer, and sent nowhere.
            features: name to value.
            horizon: how far ahead, in the unit of the models' names.
            timeout: total for the call, in seconds.

        Raises:
            ClientError: there is no answer, or a model of another name gave it.
        """
        name = self._name_of(self.model, horizon)
        answer = await self._client.predict([dict(features)], model=name, timeout=timeout)
        tag = answer.get("model_tag")
        if tag is not None and str(tag).partition(":")[0] != name:
            raise InvalidAnswerError(
                f"{name} was asked, and {tag} answered. If that is right, let name_of give the name in the model's tag."
            )
        predictions, probabilities, intervals = (
            answer.get(part) for part in ("predictions", "probabilities", "intervals")
        )
        return ModelAnswer(
            entity,
            name,
            tag,
            horizon,
            predictions[0] if isinstance(predictions, list) else None,
            _by_class(answer.get("classes"), probabilities[0]) if isinstance(probabilities, list) else None,
            intervals[0] if isinstance(intervals, list) else None,
            answer.get("latency_ms"),
        )


def _by_class(classes: Any, probabilities: Any) -> dict[str, float]:
    """Return class to probability; numbers take the place of classes that the service does not name."""
    values = probabilities if isinstance(probabilities, list) else [probabilities]
    names = classes if isinstance(classes, list) and len(classes) == len(values) else range(len(values))
    return dict(zip(map(str, names), values, strict=True))


@dataclass(frozen=True)
class Synthesis:
    """What several models said about one entity.

    Attributes:
        answers: model to what it said.
        failures: model to why it did not answer.
    """

    answers: dict[str, ModelAnswer] = field(default_factory=dict)
    failures: dict[str, ClientError] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether all answered."""
        return not self.failures


class ModelOrchestrator:
    """Asks several models at once, under one deadline; one that fails takes nothing away from the others.

    Args:
        clients: one for each model.
    """

    def __init__(self, clients: Sequence[HTTPModelClient]) -> None:
        self._clients = {client.model: client for client in clients}

    async def predict(
        self,
        entity: str,
        features: Mapping[str, Mapping[str, Any]],
        horizons: Mapping[str, int] | None = None,
        *,
        timeout: float = 10.0,
    ) -> Synthesis:
        """Ask about one entity.

        Args:
            entity: whom or what it is about.
            features: model to what it is told; only these are asked.
            horizons: model to how far ahead, for those that have several.
            timeout: for all of them together, in seconds.

        Raises:
            KeyError: a model has no client.
            ClientUsageError: the application's own mistake, such as a client that is closed: no failure of a model.
        """
        clients = {model: self._clients[model] for model in features}
        calls = [
            client.predict(entity, features[model], (horizons or {}).get(model), timeout=timeout)
            for model, client in clients.items()
        ]
        return Synthesis(*await _ask_all(clients, calls))


async def _ask_all(
    models: Iterable[str], calls: Iterable[Awaitable[Answer]]
) -> tuple[dict[str, Answer], dict[str, ClientError]]:
    """Ask at once, and return what each of *models* answered, or why it did not; anything else that goes wrong is raised."""
    answers: dict[str, Answer] = {}
    failures: dict[str, ClientError] = {}
    for model, outcome in zip(models, await asyncio.gather(*calls, return_exceptions=True), strict=True):
        if isinstance(outcome, ClientError) and not is_bug(outcome):
            failures[model] = outcome
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            answers[model] = outcome
    return answers, failures


class ModelInferenceTool:
    """A tool for agents: ask a served model about some rows.

    Args:
        client: asks the services.
        features: model to the names of its features; see `discover`.
    """

    name = "model_inference"

    def __init__(self, client: BentoMLClient, features: Mapping[str, Sequence[str]]) -> None:
        self._client = client
        self._features = {model: list(names) for model, names in features.items()}

    @classmethod
    async def discover(cls, client: BentoMLClient, models: Sequence[str]) -> ModelInferenceTool:
        """Ask each of *models* which features it takes, and make the tool of those that say; the others are left out, with a warning.

        Raises:
            ClientError: none of them says.
        """
        features, failures = await _ask_all(models, [_features_of(client, model) for model in models])
        if failures and not features:
            raise failures[models[-1]]
        for model, failure in failures.items():
            LOG.warning("the model %s is left out: %s", model, failure)
        return cls(client, features)

    def definition(self) -> dict[str, Any]:
        """Return the tool's name, description and JSON schema, as the Model Context Protocol lists tools."""
        takes = "; ".join(f"{model} takes {', '.join(names)}" for model, names in self._features.items())
        rows = {
            "type": "array",
            "minItems": 1,
            "items": {"type": "object"},
            "description": f"one object a row, feature name to value: {takes}",
        }
        return {
            "name": self.name,
            "description": "Ask a served machine-learning model for predictions, with probabilities or intervals where it has them.",
            "inputSchema": {
                "type": "object",
                "properties": {"model": {"type": "string", "enum": list(self._features)}, "rows": rows},
                "required": ["model", "rows"],
                "additionalProperties": False,
            },
        }

    async def call(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out one call of an agent.

        Returns:
            The service's answer; or ``error``, with what is wrong and when to try again, for the agent to read.
        """
        if not isinstance(arguments, Mapping):
            return _error("InvalidArguments", "the arguments are no object: give model and rows")
        model, rows = arguments.get("model"), arguments.get("rows")
        if unknown := sorted(arguments.keys() - {"model", "rows"}):
            return _error("InvalidArguments", f"{unknown[0]} is no argument: give model and rows")
        if not isinstance(model, str) or model not in self._features:
            return _error("InvalidArguments", f"model = {model!r}: there is {', '.join(self._features)}")
        if not isinstance(rows, list) or not rows or not all(isinstance(row, Mapping) for row in rows):
            return _error(
                "InvalidArguments", f"rows: give a list of objects with {', '.join(self._features[model])}"
            )
        try:
            return dict(await self._client.predict_batch(rows, model=model))
        except ClientError as problem:
            if is_bug(problem):
                raise
            return _error(type(problem).__name__, to_http_error(problem)[1], problem.retry_after)


async def _features_of(client: BentoMLClient, model: str) -> list[str]:
    info = await client.model_info(model)
    try:
        return [feature["name"] for feature in info["signature"]["features"]]
    except (KeyError, TypeError) as problem:
        raise InvalidAnswerError(f"{model} does not say which features it takes") from problem


def _error(kind: str, message: str, retry_after: float | None = None) -> dict[str, Any]:
    return {"error": {"kind": kind, "message": message, "retry_after": retry_after}}
