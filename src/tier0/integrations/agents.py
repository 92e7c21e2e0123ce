"""Clients and a tool for agents: one model, several models at once, and a tool for agent frameworks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tier0.client import BentoMLClient, ClientError, InvalidAnswerError
from tier0.integrations import is_bug, to_http_error

LOG = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass(frozen=True)
class ModelAnswer:
    """Prediction of one model for one entity.

    Attributes:
        entity: id of the entity.
        model: name of the model, with its horizon.
        model_tag: tag of the served model; None if the service does not return it.
        horizon: horizon of the prediction; None for a model without horizons.
        prediction: label or number; None if the model returns only probabilities.
        probabilities: class to probability; None for a model without probabilities.
        interval: lower and upper bound of the prediction; None for a model without intervals.
        latency_ms: milliseconds that the service reports, or else those of the complete call.
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
    """Return the name of the served model for *horizon*, e.g. ``ltv_90`` for ``ltv`` and 90."""
    return model if horizon is None else f"{model}_{horizon}"


class HTTPModelClient:
    """Client of one model, for one entity at a time.

    Args:
        client: client of the services; several models may share it.
        model: name of the model, without a horizon.
        name_of: returns the name of the served model for a model's name and a horizon.
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
        """Return the prediction for one entity.

        Args:
            entity: id of the entity, which is returned with the prediction but not sent.
            features: feature name to value.
            horizon: horizon of the prediction, in the unit of the models' names.
            timeout: total time of the call, in seconds.

        Raises:
            ClientError: the call failed, or the response is from a model with another name.
        """
        name = self._name_of(self.model, horizon)
        response = await self._client.predict([dict(features)], model=name, timeout=timeout)
        tag = response.get("model_tag")
        if tag is not None and str(tag).partition(":")[0] != name:
            raise InvalidAnswerError(
                f"the response for model {name} is from {tag}: if that is the right model, name_of must "
                "return the name in its tag"
            )
        predictions, probabilities, intervals = (
            response.get(part) for part in ("predictions", "probabilities", "intervals")
        )
        return ModelAnswer(
            entity,
            name,
            tag,
            horizon,
            predictions[0] if isinstance(predictions, list) else None,
            _by_class(response.get("classes"), probabilities[0]) if isinstance(probabilities, list) else None,
            intervals[0] if isinstance(intervals, list) else None,
            response.get("latency_ms"),
        )


def _by_class(classes: Any, probabilities: Any) -> dict[str, float]:
    """Return class to probability; the keys are indices if the response does not name the classes."""
    values = probabilities if isinstance(probabilities, list) else [probabilities]
    names = classes if isinstance(classes, list) and len(classes) == len(values) else range(len(values))
    return dict(zip(map(str, names), values, strict=True))


@dataclass(frozen=True)
class Synthesis:
    """Predictions of several models for one entity.

    Attributes:
        answers: model to its prediction.
        failures: model to the error of its call.
    """

    answers: dict[str, ModelAnswer] = field(default_factory=dict)
    failures: dict[str, ClientError] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """True if all models returned a prediction."""
        return not self.failures


class ModelOrchestrator:
    """Calls several models at once, under one deadline; a failure of one model does not affect the others.

    Args:
        clients: one client for each model.
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
        """Return the predictions of several models for one entity.

        Args:
            entity: id of the entity.
            features: model to its features; only these models are called.
            horizons: model to horizon, for models with several horizons.
            timeout: time for all calls together, in seconds.

        Raises:
            KeyError: a model has no client.
            ClientUsageError: the application misused its client, e.g. called it after close.
        """
        clients = {model: self._clients[model] for model in features}
        calls = [
            client.predict(entity, features[model], (horizons or {}).get(model), timeout=timeout)
            for model, client in clients.items()
        ]
        return Synthesis(*await _call_all(clients, calls))


async def _call_all(
    models: Iterable[str], calls: Iterable[Awaitable[Result]]
) -> tuple[dict[str, Result], dict[str, ClientError]]:
    """Make one call for each model at once.

    Returns:
        Model to result, and model to error for calls that failed.

    Raises:
        BaseException: an error that is not a failure of a model, such as a misused client.
    """
    results: dict[str, Result] = {}
    failures: dict[str, ClientError] = {}
    for model, outcome in zip(models, await asyncio.gather(*calls, return_exceptions=True), strict=True):
        if isinstance(outcome, ClientError) and not is_bug(outcome):
            failures[model] = outcome
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            results[model] = outcome
    return results, failures


class ModelInferenceTool:
    """Tool for agents that returns the predictions of a served model.

    Args:
        client: client of the services.
        features: model to the names of its features; see `discover`.
    """

    name = "model_inference"

    def __init__(self, client: BentoMLClient, features: Mapping[str, Sequence[str]]) -> None:
        self._client = client
        self._features = {model: list(names) for model, names in features.items()}

    @classmethod
    async def discover(cls, client: BentoMLClient, models: Sequence[str]) -> ModelInferenceTool:
        """Return a tool for *models*, whose features are read from the services.

        A model whose features cannot be read is omitted, with a warning in the log.

        Raises:
            ClientError: the features of no model can be read.
        """
        features, failures = await _call_all(models, [_features_of(client, model) for model in models])
        if failures and not features:
            raise failures[models[-1]]
        for model, failure in failures.items():
            LOG.warning("model %s is omitted from the tool: %s", model, failure)
        return cls(client, features)

    def definition(self) -> dict[str, Any]:
        """Return the tool's name, description and JSON schema, as the Model Context Protocol lists tools."""
        features = "; ".join(f"{model}: {', '.join(names)}" for model, names in self._features.items())
        rows = {
            "type": "array",
            "minItems": 1,
            "items": {"type": "object"},
            "description": f"one object for each row, with the names of features as keys ({features})",
        }
        return {
            "name": self.name,
            "description": "Get predictions from a served machine-learning model, with probabilities or "
            "intervals if the model returns them.",
            "inputSchema": {
                "type": "object",
                "properties": {"model": {"type": "string", "enum": list(self._features)}, "rows": rows},
                "required": ["model", "rows"],
                "additionalProperties": False,
            },
        }

    async def call(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the result of one call by an agent.

        Returns:
            The service's response, or ``error`` with ``kind``, ``message`` and ``retry_after`` in seconds.
        """
        if invalid := self._problem_of(arguments):
            return _error("InvalidArguments", invalid)
        model, rows = arguments["model"], arguments["rows"]
        try:
            return dict(await self._client.predict_batch(rows, model=model))
        except ClientError as problem:
            if is_bug(problem):
                raise
            return _error(type(problem).__name__, to_http_error(problem)[1], problem.retry_after)

    def _problem_of(self, arguments: Any) -> str:
        """Return a message for the agent if the arguments are invalid, or else an empty string."""
        if not isinstance(arguments, Mapping):
            return "invalid arguments: expected an object with model and rows"
        model, rows = arguments.get("model"), arguments.get("rows")
        if unknown := sorted(arguments.keys() - {"model", "rows"}):
            return f"unknown argument {unknown[0]!r}: expected model and rows"
        if not isinstance(model, str) or model not in self._features:
            return f"unknown model {model!r}: choose one of {', '.join(self._features)}"
        if not isinstance(rows, list) or not rows or not all(isinstance(row, Mapping) for row in rows):
            return f"invalid rows: expected a list of objects with {', '.join(self._features[model])}"
        return ""


async def _features_of(client: BentoMLClient, model: str) -> list[str]:
    info = await client.model_info(model)
    try:
        return [feature["name"] for feature in info["signature"]["features"]]
    except (KeyError, TypeError) as problem:
        raise InvalidAnswerError(f"model_info of {model} does not list its features") from problem


def _error(kind: str, message: str, retry_after: float | None = None) -> dict[str, Any]:
    return {"error": {"kind": kind, "message": message, "retry_after": retry_after}}
