"""Entry point of ``python -m tier0.cli``."""

from __future__ import annotations

from tier0.cli import app

if __name__ == "__main__":
    app()
