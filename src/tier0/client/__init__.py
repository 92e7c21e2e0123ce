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

ModelClient = BentoMLClient
"""The same client by a name that fits every protocol."""
SyncModelClient = SyncBentoMLClient
"""The same synchronous client by a name that fits every protocol."""

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
    "ModelClient",
    "PoolSaturatedError",
    "RateLimitedError",
    "ServiceFailedError",
    "SyncBentoMLClient",
    "SyncModelClient",
    "TimedOutError",
    "TransportError",
]
