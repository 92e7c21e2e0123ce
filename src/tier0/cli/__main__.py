"""Entry point of ``python -m tier0.cli``, the same as ``python -m tier0``."""

from __future__ import annotations

from tier0.__main__ import main

if __name__ == "__main__":
    main()
