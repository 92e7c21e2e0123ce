"""Starting processes that cannot outlive us, and finding out what is still there."""

from __future__ import annotations

import errno
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

GUARD = Path(__file__).with_name("guard.py")
STOP_GRACE = 2.0
ORPHAN_GRACE = 0.3


def start_guard(*watch: int, env: dict[str, str] | None = None, **order: Any) -> subprocess.Popen[bytes]:
    """Start a guard (see `tier0.serving.guard`) in a session of its own, so that Ctrl-C leaves the order of events to us."""
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
    """Return the living processes that carry the server's nonce in their environment, wherever they are in the tree."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TIER0_NONCE") == nonce and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def accepts_connections(port: int) -> bool:
    """Tell whether anything listens on *port* of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def owner_of(port: int) -> str | None:
    """Describe the process that listens on TCP *port*: its pid and command, or that it is not ours to see."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return "a process of another user"
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
            if connection.pid is None:
                return "a process of another user"
            try:
                command = " ".join(psutil.Process(connection.pid).cmdline())[:120]
            except psutil.Error:
                command = "gone meanwhile"
            return f"pid {connection.pid} ({command})"
    return None


def is_free(port: int) -> bool:
    """Tell whether nobody has *port* of 127.0.0.1; raises OSError where it cannot be bound for another reason."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as problem:
            if problem.errno == errno.EADDRINUSE:
                return False
            raise
    return True
