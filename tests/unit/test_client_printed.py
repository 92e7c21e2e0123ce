"""What a client prints is collected for its check, and nothing else is."""

from __future__ import annotations

import asyncio
import logging
import sys

import pytest

from tier0.checks.client.harness.printed import MAX_CHARACTERS, collected, redirected


def test_what_is_printed_belongs_to_the_check_in_which_it_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def check(name: str) -> list[str]:
        with collected() as printed:
            sys.stdout.write(f"{name}\n")
            await asyncio.sleep(0)
            sys.stderr.write(f"{name} again\n")
            logging.getLogger("theirs").warning("logged by %s", name)
        return printed.lines

    async def checks() -> list[list[str]]:
        return list(await asyncio.gather(check("one"), check("two")))

    handler = logging.StreamHandler(sys.stderr)
    with redirected():
        handler.setStream(sys.stderr)
        logging.getLogger("theirs").addHandler(handler)
        results = asyncio.run(checks())
        sys.stdout.write("ours\n")
    logging.getLogger("theirs").removeHandler(handler)

    assert results == [[name, f"{name} again", f"logged by {name}"] for name in ("one", "two")]
    assert capsys.readouterr() == ("ours\n", "")


def test_the_end_of_a_long_output_is_kept() -> None:
    with redirected(), collected() as printed:
        sys.stdout.write("x" * MAX_CHARACTERS + "\nthe end\n")

    assert printed.lines[-1] == "the end"
    assert sum(map(len, printed.lines)) < MAX_CHARACTERS
