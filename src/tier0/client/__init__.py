"""Client of served models; it imports httpx, but neither pytest, BentoML nor the training pipeline."""

from tier0.client.bentoml_client import BentoMLClient
from tier0.client.breaker import CircuitBreaker
from tier0.client.errors import (
    CallerError,
    CircuitOpenError,
    ClientError,
    ClientUsageError,
    InvalidAnswerError,
    InvalidDataError,
    PoolSaturatedError,
    RateLimitedError,
    ServiceFailedError,
    TimedOutError,
    TransportError,
)
from tier0.client.events import ClientEvent
from tier0.client.sync_client import SyncBentoMLClient

__all__ = [
    "BentoMLClient",
    "CallerError",
    "CircuitBreaker",
    "CircuitOpenError",
    "ClientError",
    "ClientEvent",
    "ClientUsageError",
    "InvalidAnswerError",
    "InvalidDataError",
    "PoolSaturatedError",
    "RateLimitedError",
    "ServiceFailedError",
    "SyncBentoMLClient",
    "TimedOutError",
    "TransportError",
]
