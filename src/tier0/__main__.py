"""Entry point of the command ``tier0`` and of ``python -m tier0``."""

from __future__ import annotations

from tier0.core.interruption import exit_on_interrupt


def main() -> None:
    """Run the command line with the arguments of this process."""
    exit_on_interrupt()
    from tier0.cli import app  # noqa: PLC0415 - takes a part of a second, in which the user may press Ctrl-C

    app(prog_name="tier0")


if __name__ == "__main__":
    main()
