"""The client that an application calls a served model with. Imports httpx and tenacity, nothing of pytest, BentoML or training."""

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
from tier0.client.sync_client import SyncBentoMLClient

__all__ = [
    "BentoMLClient",
    "CallerError",
    "CircuitBreaker",
    "CircuitOpenError",
    "ClientError",
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
