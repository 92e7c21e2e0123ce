"""Worker process that builds a Bento: BentoML reads BENTOML_HOME once, when it is imported."""

from __future__ import annotations

import shutil
import sys
from typing import Any

import bentoml

from tier0.core.errors import Tier0Error
from tier0.core.worker_process import Handler
from tier0.serving.bentoml_internals import CONSTRUCT_CONTAINERFILE, get, missing_names


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

    Raises:
        Tier0Error: this version of BentoML does not provide the files of the container image.
    """
    if missing := missing_names(CONSTRUCT_CONTAINERFILE):
        raise Tier0Error(
            f"BentoML {bentoml.__version__} does not have {missing[0]}, which provides the files of a "
            "container image: install a version that has it"
        )
    python_version = f"{sys.version_info.major}.{sys.version_info.minor}"
    bento = bentoml.build(
        "service:Tier0Service",
        name=order["name"],
        build_ctx=order["context"],
        models=order["models"],
        python={"packages": order["packages"], "lock_packages": False},
        docker={"python_version": python_version},  # a pickle is read by the Python version that wrote it
    )
    with get(CONSTRUCT_CONTAINERFILE)(bento) as (folder, _):
        shutil.copytree(folder, order["output"])
    return {"tag": str(bento.tag)}
