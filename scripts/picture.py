"""Draws what ``tier0 verify`` prints of a defect, for the README: ``make picture``.

Trains and serves the example whose service lost a step of its pipeline, verifies it, and writes the output as
docs/images/caught.svg. Nothing is drawn by hand.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "images" / "caught.svg"
SHOWN_URL = "http://127.0.0.1:3000"
OPTIONS = ("--golden", "golden.json", "--groups", "health,contract,parity")
WAIT = ("--wait", "120")
"""Options that the picture leaves out: its reader has started the service."""
WIDTH = 104
LONGEST = 170
"""Characters of a line that are shown; a command with a row in it is longer."""
FORMAT = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<title>tier0 verify finds a service that lost a step of its pipeline</title>
<style>
.{unique_id}-matrix {{
font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width;
}}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g></g></svg>
"""
"""rich's own template loads a font from another host."""


def main() -> int:
    """Run the example, and write the picture."""
    with tempfile.TemporaryDirectory(prefix="tier0-picture-") as name:
        folder = Path(name) / "service"
        shutil.copytree(ROOT / "examples" / "service", folder)
        environment = {
            **os.environ,
            "HOME": name,
            "BENTOML_DO_NOT_TRACK": "True",
            "FORCE_COLOR": "1",
            "PYTHONPATH": str(ROOT / "src"),
        }
        subprocess.run([sys.executable, "train.py"], cwd=folder, env=environment, check=True)
        output = verify_broken_service(folder, environment)
    draw(output)
    print(PICTURE)
    return 0


def verify_broken_service(folder: Path, environment: dict[str, str]) -> str:
    """Return what ``tier0 verify`` prints of the broken service."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serve = [sys.executable, "-m", "bentoml", "serve", "broken_service.py:Churn", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    verify = [sys.executable, "-m", "tier0", "verify", url, *OPTIONS, *WAIT]
    with subprocess.Popen(
        serve, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as service:
        try:
            done = subprocess.run(
                verify, cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
        finally:
            service.terminate()
    if done.returncode != 1:
        raise SystemExit(f"expected a failed verdict, but the status is {done.returncode}:\n{done.stderr}")
    return done.stdout.replace(url, SHOWN_URL).replace(f" {' '.join(WAIT)}", "")


def draw(output: str) -> None:
    """Write the output of the command as a picture."""
    console = Console(record=True, width=WIDTH, file=Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
    console.print(Text(" ".join(["$ tier0 verify", SHOWN_URL, *OPTIONS]), style="bold"))
    for line in output.splitlines():
        text = Text.from_ansi(line)
        text.truncate(LONGEST, overflow="ellipsis")
        console.print(text)
    PICTURE.parent.mkdir(exist_ok=True)
    svg = console.export_svg(title="", code_format=FORMAT, unique_id="caught")
    PICTURE.write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
