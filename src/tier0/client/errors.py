"""Errors of the prediction client."""

from __future__ import annotations

from typing import Any


class ClientError(Exception):
    """Base class of all errors of the client.

    Attributes:
        retry_after: seconds after which a retry makes sense; None if unknown.
        attempts: number of requests that the call sent.
        status: HTTP status of the last response; None without one.
        request_id: id that all requests of the call carried as ``X-Request-ID``.
        server_message: the server's own description of the problem.
        reason: class of the problem with the connection, such as ``ConnectError``; empty for other problems.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        attempts: int = 0,
        status: int | None = None,
        request_id: str = "",
        server_message: str = "",
        reason: str = "",
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.attempts = attempts
        self.status = status
        self.request_id = request_id
        self.server_message = server_message
        self.reason = reason

    @property
    def summary(self) -> str:
        """Class and status or reason; unlike the message, without text of the service."""
        details = self.reason if self.status is None else f"status {self.status}"
        return f"{type(self).__name__} ({details})" if details else type(self).__name__


class CircuitOpenError(ClientError):
    """The circuit is open; the call sent no request.

    Attributes:
        last_failure: failure that opened the circuit, which is also the cause of this error; None if it is
            unknown.
    """

    def __init__(self, message: str, *, last_failure: ClientError | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.last_failure = last_failure


class TransportError(ClientError):
    """The connection could not be established, was interrupted, or did not carry valid HTTP."""


class TimedOutError(ClientError):
    """No complete response arrived in time, or the deadline passed before a request could be sent."""


class ServiceFailedError(ClientError):
    """The service returned 5xx."""


class InvalidAnswerError(ClientError):
    """The service returned 2xx, but the body is not a valid prediction."""


class CallerError(ClientError):
    """The service rejected the request with 3xx or 4xx; a retry would not help."""


class RateLimitedError(CallerError):
    """The service returned 429 Too Many Requests."""


class PoolSaturatedError(ClientError):
    """All connections of the client stayed busy until the call's deadline; no request was sent."""


class ClientUsageError(ClientError):
    """The client is closed, belongs to another event loop, or received data that cannot be sent."""


class InvalidDataError(ClientUsageError):
    """The arguments of the call are invalid, such as data that cannot be sent; no request was sent."""
