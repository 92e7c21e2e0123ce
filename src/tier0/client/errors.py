"""What can go wrong when a served model is called."""

from __future__ import annotations


class ClientError(Exception):
    """Base of all errors of the client.

    Attributes:
        retry_after: seconds after which it makes sense to ask again; None where nobody said so.
        attempts: how many requests of this call were sent.
        status: the HTTP status of the last answer; None where there was none.
        request_id: what all requests of this call carried as ``X-Request-ID``.
        server_message: what the server said about the problem.
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
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.attempts = attempts
        self.status = status
        self.request_id = request_id
        self.server_message = server_message


class CircuitOpenError(ClientError):
    """The circuit is open: this call sent nothing."""


class TransportError(ClientError):
    """The connection could not be made, broke, or carried no HTTP."""


class TimedOutError(ClientError):
    """No whole answer came within the attempt's limit, or nothing of the call's time was left."""


class ServiceFailedError(ClientError):
    """The service answered with 5xx."""


class InvalidAnswerError(ClientError):
    """The service answered with 2xx, and the body is no prediction."""


class CallerError(ClientError):
    """The service refused the request with 3xx or 4xx: asking again would not help."""


class RateLimitedError(CallerError):
    """The service answered with 429: ask again later."""


class PoolSaturatedError(ClientError):
    """All connections of this client were busy for as long as the call was allowed to take; nothing was sent."""


class ClientUsageError(ClientError):
    """The client is closed, belongs to another event loop, or was given something that cannot be sent."""


class InvalidDataError(ClientUsageError):
    """What was to be asked cannot be sent, or names no model: whoever gave it was wrong, and nothing was sent."""
