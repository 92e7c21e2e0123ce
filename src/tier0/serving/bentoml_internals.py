"""All private names of BentoML that Tier0 uses. BentoML may change them in any version.

Each name has another way where it is missing: the service runs with BentoML's own middleware, workers are
recognised by their listening port, and `tier0 build` reports that it needs another version. The module can be
imported without BentoML.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

WORKER_MODULE = "_bentoml_impl.worker.service"
"""Module that a worker process runs, in its command."""
CONTAINER = "bentoml._internal.configuration.containers:BentoMLContainer"
SERVER_CONTEXT = "bentoml._internal.context:server_context"
TRACE_CONTEXT = "bentoml._internal.context:trace_context"
LOG_FORMAT = "bentoml._internal.log:TRACED_LOG_FORMAT"
LOG_FILTER = "bentoml._internal.log:TraceRecordFilter"
CONSTRUCT_CONTAINERFILE = "bentoml._internal.container:construct_containerfile"
METRICS, TRACE, ACCESS, LIMIT = (
    "RunnerTrafficMetricsMiddleware",
    "OpenTelemetryMiddleware",
    "AccessLogMiddleware",
    "TimeoutMiddleware",
)
"""Classes of BentoML's middleware."""
FOR_MIDDLEWARE = (
    f"{CONTAINER}.logging_formatting",
    f"{SERVER_CONTEXT}.bento_name",
    f"{SERVER_CONTEXT}.bento_version",
    f"{SERVER_CONTEXT}.service_name",
    f"{TRACE_CONTEXT}.service_name",
    LOG_FORMAT,
    LOG_FILTER,
    f"bentoml._internal.server.http.instruments:{METRICS}",
    f"bentoml._internal.server.http.access:{ACCESS}",
    f"bentoml._internal.server.http.traffic:{LIMIT}",
    f"opentelemetry.instrumentation.asgi:{TRACE}",
    "opentelemetry.instrumentation.asgi:asgi_getter",
    "opentelemetry.instrumentation.propagators:get_global_response_propagator",
)
"""Names that Tier0's middleware needs, as ``module:name``."""
ATTRIBUTES = {
    METRICS: (
        "skip_paths",
        "metrics_last_request_timestamp",
        "metrics_request_in_progress",
        "metrics_request_total",
        "metrics_request_duration",
    ),
    TRACE: ("server_request_hook", "tracer"),
    ACCESS: (
        "skip_paths",
        "logger",
        "has_request_content_type",
        "has_request_content_length",
        "has_response_content_type",
        "has_response_content_length",
    ),
    LIMIT: ("timeout",),
}
"""Attributes of BentoML's middleware that Tier0's needs."""
WARNING = (
    "this version of BentoML lacks names that Tier0 uses (%s): BentoML's own middleware handles the requests"
)
"""Warning of a worker, with the missing names."""
OF_PROTOCOL = (
    "app",
    "connections",
    "cycle",
    "loop",
    "scope",
    "send_400_response",
    "timeout_keep_alive_task",
    "transport",
)
"""Attributes of a connection of uvicorn, BentoML's HTTP server, that Tier0's limits need."""
PROTOCOLS = "uvicorn.config:HTTP_PROTOCOLS"
"""uvicorn's classes of connections by name, of which BentoML uses that for ``auto``."""
OUR_PROTOCOL = "tier0.serving.protocol"
PROTOCOL_WARNING = (
    "connections and unfinished heads of requests are not limited here, for lack of %s: a proxy in front of "
    "the service has to do that"
)
"""Warning of a worker, with the missing names."""
_IN_LOG = re.compile(re.escape(WARNING).replace("%s", "(.*?)"))


@cache
def get(name: str) -> Any:
    """Return the object with a name, as ``module:name``.

    Raises:
        ImportError: the module does not exist.
        AttributeError: the module does not have the name.
    """
    module, _, path = name.partition(":")
    found = import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found


def missing_names(*names: str) -> list[str]:
    """Return those of the names that this BentoML does not have; BentoML is imported."""
    return [name for name in names if not _exists(name)]


def missing_for_service(stack: Any) -> list[str]:
    """Return the missing names that concern a worker of Tier0's service.

    Args:
        stack: outermost middleware of the application, after its start.
    """
    missing = missing_names(*FOR_MIDDLEWARE, WORKER_MODULE)
    for _, layer in iter_middleware(stack):
        kind = type(layer).__name__
        missing += [f"{kind}.{name}" for name in ATTRIBUTES.get(kind, ()) if not hasattr(layer, name)]
    return missing


def limit_connections() -> None:
    """Have uvicorn use Tier0's class of connections, if this process is a worker; elsewhere, do nothing."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None and spec.name == WORKER_MODULE and "auto" in (protocols := _protocols()):
        protocols["auto"] = f"{OUR_PROTOCOL}:LimitedProtocol"


def missing_for_protocol() -> list[str]:
    """Return the missing name because of which uvicorn, which has started, uses its own connections."""
    return [] if OUR_PROTOCOL in sys.modules else [PROTOCOLS if "auto" not in _protocols() else WORKER_MODULE]


def missing_from_bentoml() -> list[str]:
    """Return all names that the installed BentoML does not have, which is imported.

    Raises:
        ImportError: BentoML cannot be imported at all.
    """
    import_module("bentoml")
    return missing_names(*FOR_MIDDLEWARE, WORKER_MODULE, CONSTRUCT_CONTAINERFILE)


def missing_in_log(text: str) -> list[str]:
    """Return the missing names of the `WARNING` in the log of a server; none without it."""
    found = _IN_LOG.search(text)
    return [] if found is None else found[1].split(", ")


def iter_middleware(outer: Any) -> Iterator[tuple[Any, Any]]:
    """Iterate over a Starlette application's middleware, from the outermost inwards.

    Yields:
        Each middleware, after the one whose ``app`` it is: ``(outer, middleware)``.
    """
    while (layer := getattr(outer, "app", None)) is not None:
        yield outer, layer
        outer = outer.app


def _protocols() -> dict[str, Any]:
    found = get(PROTOCOLS) if _exists(PROTOCOLS) else {}
    return found if isinstance(found, dict) else {}


def _exists(name: str) -> bool:
    try:
        if ":" in name:
            get(name)
            return True
        return find_spec(name) is not None
    except (ImportError, AttributeError):
        return False
