"""Building a Bento, in a process of its own: BENTOML_HOME is fixed by BentoML's first use."""

from __future__ import annotations

import shutil
import sys
from typing import Any

import bentoml
from bentoml._internal.container import (
    construct_containerfile,
)  # what `bentoml containerize` calls; there is no public name for it

from tier0.core.worker_process import Handler


def prepare() -> Handler:
    """Return what carries out the order; BentoML is imported with this module."""
    return build


def build(order: dict[str, Any]) -> dict[str, str]:
    """Build the order's ``context`` with its ``models`` and ``packages``; what a container is made of is put into ``output``.

    Returns:
        The Bento's exact ``tag``.
    """
    bento = bentoml.build(
        "service:Tier0Service",
        name=order["name"],
        build_ctx=order["context"],
        models=order["models"],
        python={"packages": order["packages"], "lock_packages": False},
        docker={
            "python_version": f"{sys.version_info.major}.{sys.version_info.minor}"
        },  # a pickle is for the Python that wrote it
    )
    with construct_containerfile(bento) as (folder, _):
        shutil.copytree(folder, order["output"])
    return {"tag": str(bento.tag)}
