"""Guarded processes, which cannot outlive this one, and functions to find processes and ports."""

from __future__ import annotations

import errno
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from tier0.core.display import line
from tier0.core.errors import PortInUseError
from tier0.core.secrets import ENVIRONMENT
from tier0.core.settings import Port

GUARD = Path(__file__).with_name("guard.py")
STOP_GRACE = 2.0
ORPHAN_GRACE = 0.3
MAX_COMMAND = 120


def start_guard(*watch: int, env: dict[str, str] | None = None, **order: Any) -> subprocess.Popen[bytes]:
    """Start a guard process, see `tier0.serving.guard`.

    It runs in a new session: Ctrl-C does not reach it, so this process decides when it stops.

    Args:
        watch: pids whose end makes the guard end everything.
        env: environment of the guard and its command; that of this process by default.
        order: further fields of the guard's order.
    """
    document = {"watch": watch, "stop_grace": STOP_GRACE, "orphan_grace": ORPHAN_GRACE, **order}
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-I", "-S", str(GUARD), json.dumps(document)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=env,
    )


def processes_marked(nonce: str) -> list[psutil.Process]:
    """Return the living processes with the server's nonce in their environment, whatever their parent."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TIER0_NONCE") == nonce and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def accepts_connections(port: int) -> bool:
    """Return True if a connection to *port* of 127.0.0.1 is accepted."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def owner_of(port: int) -> str | None:
    """Describe the process that listens on TCP *port* by its pid and command; None if there is none."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return "a process of another user"
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
            if connection.pid is None:
                return "a process of another user"
            try:
                words = " ".join(psutil.Process(connection.pid).cmdline())
                command = line(words, ENVIRONMENT.hide, MAX_COMMAND)
            except psutil.Error:
                command = "ended meanwhile"
            return f"pid {connection.pid} ({command})"
    return None


def is_free(port: int) -> bool:
    """Return True if *port* of 127.0.0.1 is not in use.

    Raises:
        OSError: the port cannot be bound for another reason.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as problem:
            if problem.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def choose_port(port: Port) -> int:
    """Return the port to listen on: 0 for any, the requested one, or the next free one if *port* allows it.

    Raises:
        PortInUseError: the port is in use, or cannot be bound by this user.
    """
    try:
        if port.number == 0 or is_free(port.number):
            return port.number
    except OSError as problem:
        raise PortInUseError(
            f"port {port.number} cannot be used: {problem.strerror}. Pass --tier0-port 0 for any free port, "
            "or one from 1024 up."
        ) from problem
    if not port.or_next:
        raise port_in_use(port.number)
    return next((number for number in range(port.number + 1, 65536) if is_free(number)), 0)


def find_free_port() -> int:
    """Return a port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_in_use(number: int) -> PortInUseError:
    """Return the error for a port that another process listens on."""
    owner = owner_of(number) or "a process that has ended meanwhile"
    return PortInUseError(
        f"port {number} is in use by {owner}. Stop that process, pass --tier0-port {number}+ for the next "
        "free port, or --tier0-port 0 for any."
    )
