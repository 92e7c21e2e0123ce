"""Makes the README's links absolute in the package's metadata, which has no files beside it.

hatchling runs this hook when it builds. Where the pages are is in pyproject.toml, at
``tool.hatch.metadata.hooks.custom``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(!?)(\[[^\]]*\])\((?!https?://|#)([^)\s]+)\)")


class AbsoluteLinks(MetadataHookInterface):
    """The README with absolute links, as the project's long description."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the field ``readme``."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        pages, images = self.config["pages"], self.config["images"]
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": LINK.sub(
                lambda link: f"{link[1]}{link[2]}({images if link[1] else pages}{link[3]})", text
            ),
        }
