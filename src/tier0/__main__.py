"""Entry point of the command ``tier0`` and of ``python -m tier0``.

Imports nothing before `main` handles an interruption: Ctrl-C ends the command without a traceback even
while its modules are being imported.
"""

from __future__ import annotations

import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command line with the arguments of this process."""
    try:
        from tier0.cli import app  # noqa: PLC0415 - takes a part of a second, in which the user may press Ctrl-C

        app(prog_name="tier0")
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped\n")
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
