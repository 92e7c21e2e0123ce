"""Worker process that builds a Bento: BentoML reads BENTOML_HOME once, when it is imported."""

from __future__ import annotations

import shutil
import sys
from typing import Any

import bentoml

# As called by `bentoml containerize`; it has no public name.
from bentoml._internal.container import construct_containerfile

from tier0.core.worker_process import Handler


def prepare() -> Handler:
    """Return the handler of orders; BentoML is imported with this module."""
    return build


def build(order: dict[str, Any]) -> dict[str, str]:
    """Build a Bento and the files of its container image.

    Args:
        order: ``name`` of the Bento, ``context`` (build folder), ``models`` (exact tags), ``packages``
            (requirements), and ``output``, the folder to create for the files of the container image.

    Returns:
        The Bento's exact ``tag``.
    """
    python_version = f"{sys.version_info.major}.{sys.version_info.minor}"
    bento = bentoml.build(
        "service:Tier0Service",
        name=order["name"],
        build_ctx=order["context"],
        models=order["models"],
        python={"packages": order["packages"], "lock_packages": False},
        docker={"python_version": python_version},  # a pickle is read by the Python version that wrote it
    )
    with construct_containerfile(bento) as (folder, _):
        shutil.copytree(folder, order["output"])
    return {"tag": str(bento.tag)}
