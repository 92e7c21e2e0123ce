"""The labels of metrics for the paths of requests, whose number a client must not choose.

Each label takes memory until the worker ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.routing import Mount, Route, Router, WebSocketRoute

from tier0.serving.bentoml_internals import iter_middleware

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]
    App = Callable[[Message, Callable[..., Any], Callable[..., Any]], Awaitable[None]]

UNKNOWN_PATH = "unknown"
"""Label of all paths that the application has no route for."""


def is_never_a_path(scope: Message) -> bool:
    """Return whether a request's path has a zero byte, at which older versions of Starlette raise."""
    return "\0" in scope.get("path", "")


class PathLabels:
    """The labels of paths: a path with a route is its own label, and all others share one.

    Args:
        stack: outermost middleware of the application.
        is_route: returns True for the path of a further route.
    """

    def __init__(self, stack: Any, is_route: Callable[[str], bool]) -> None:
        routers = [layer for _, layer in iter_middleware(stack) if isinstance(layer, Router)]
        routes = [route for router in routers for route in router.routes]
        known = (Route, WebSocketRoute, Mount)
        self.is_complete = bool(routes) and all(isinstance(route, known) for route in routes)
        self._mounts = tuple(f"{route.path}/" for route in routes if isinstance(route, Mount))
        self._paths = {route.path for route in routes if isinstance(route, (Route, WebSocketRoute))}
        self._is_route = is_route

    def label(self, scope: Message) -> str:
        """Return the label of a request's path; that of a file below a mounted folder is the folder."""
        path: str = scope["path"]
        if is_never_a_path(scope):
            return UNKNOWN_PATH
        below_root = path.removeprefix(scope.get("root_path", ""))
        if below_root in self._paths or self._is_route(below_root):
            return path
        return next(
            (mount.removesuffix("/") for mount in self._mounts if below_root.startswith(mount)), UNKNOWN_PATH
        )


class OnePathForUnknown:
    """A middleware that gives all paths without a route one name, before those of BentoML see them.

    It is used where Tier0's own middleware is not. The names of files below a mounted folder stay as they
    are, as does a path that a route matches with another slash at its end, to which Starlette redirects.

    Args:
        app: the application inside.
        labels: the labels of paths.
    """

    def __init__(self, app: App, labels: PathLabels) -> None:
        self.app = app
        self._labels = labels

    async def __call__(self, scope: Message, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        """Pass a request on, without its path if that is unknown."""
        if scope["type"] in {"http", "websocket"} and not self._is_known(scope):
            scope = {**scope, "path": UNKNOWN_PATH, "raw_path": UNKNOWN_PATH.encode()}
        await self.app(scope, receive, send)

    def _is_known(self, scope: Message) -> bool:
        path: str = scope["path"]
        other = path[:-1] if path.endswith("/") else f"{path}/"
        return any(self._labels.label({**scope, "path": one}) != UNKNOWN_PATH for one in (path, other))


def hide_unknown_paths(stack: Any, is_route: Callable[[str], bool]) -> None:
    """Insert `OnePathForUnknown` into a Starlette application's *stack*, if all of its routes are known.

    Args:
        stack: outermost middleware of the application.
        is_route: returns True for the path of a route in addition to those of the application's router.
    """
    labels = PathLabels(stack, is_route)
    if labels.is_complete:
        stack.app = OnePathForUnknown(stack.app, labels)
