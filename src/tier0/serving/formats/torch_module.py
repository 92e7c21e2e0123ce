"""PyTorch modules: their weights are saved, and their class is imported, so that no code is unpickled."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

from tier0.core import display
from tier0.core.errors import RegistrationError, first_line
from tier0.golden.predictors import as_predictor
from tier0.serving.formats.choice import require

FILE = "weights.pt"
BENTOML_MODULE = "bentoml.picklable_model"
HOW_TO_BUILD = (
    "Pass build=, an importable class or function, or a functools.partial of one with JSON arguments, that "
    "returns the module without its weights, such as build=partial(Net, features=8)"
)


class TorchModule:
    """A module with scikit-learn's interface; its predictions are those of ``forward``, without gradients.

    Attributes:
        estimator: the module.
        build: how the module is created without its weights, as JSON types.
    """

    def __init__(self, module: Any, build: Mapping[str, Any]) -> None:
        self.estimator = module
        self.build = build
        self._predictor = as_predictor(module)

    def predict(self, rows: Any) -> Any:
        """Return a number, or a list of numbers, for each row; floats become the type of the weights."""
        return self._predictor.predict(rows)


def adapt(module: Any, build: Callable[[], Any] | None = None) -> TorchModule:
    """Return a module with scikit-learn's interface, which *build* or its class without arguments creates.

    Raises:
        RegistrationError: the module is in training mode, or another process cannot create it.
    """
    training = [name for name, part in module.named_modules() if part.training]
    if training:
        where = "" if "" in training else f" in its part {training[0]!r}"
        raise RegistrationError(
            f"the PyTorch module is in training mode{where}, in which dropout and batch normalization change "
            "its predictions: call model.eval() before it is registered"
        )
    description = _description_of(build or type(module))
    torch = require("torch")
    with torch.random.fork_rng(devices=[]):  # new weights are random numbers of the user's generator
        _with_weights(_built(description), module.state_dict())
    return TorchModule(module, description)


def save(model: TorchModule) -> tuple[bytes, dict[str, Any]]:
    """Return the weights, and how the module is created."""
    buffer = io.BytesIO()
    require("torch").save(dict(model.estimator.state_dict()), buffer)
    return buffer.getvalue(), {"build": dict(model.build)}


def load(content: bytes, options: Mapping[str, Any]) -> TorchModule:
    """Create the module, with the saved weights, in evaluation mode and with one thread.

    Raises:
        RegistrationError: the module cannot be created.
    """
    torch = require("torch")
    torch.set_num_threads(1)
    weights = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return TorchModule(_with_weights(_built(options["build"]), weights).eval(), options["build"])


def _with_weights(module: Any, weights: Mapping[str, Any]) -> Any:
    try:
        module.load_state_dict(weights, assign=True)
    except (RuntimeError, AttributeError) as problem:
        details = str(problem).strip().splitlines()[-1]  # the first line names only the class
        raise RegistrationError(
            f"the weights do not fit the {type(module).__name__} that was created for them: "
            f"{display.line(details.strip())} {HOW_TO_BUILD}"
        ) from problem
    return module


def _built(description: Mapping[str, Any]) -> Any:
    try:
        call: Any = import_module(description["module"])
        for name in description["name"].split("."):
            call = getattr(call, name)
        return call(*description["args"], **description["kwargs"])
    except Exception as problem:
        raise RegistrationError(
            f"the PyTorch module cannot be created with {description['module']}.{description['name']}: "
            f"{type(problem).__name__}: {first_line(problem)}. {HOW_TO_BUILD}"
        ) from problem


def _description_of(build: Any) -> dict[str, Any]:
    """Return an importable class or function, and its arguments, as JSON types.

    Raises:
        RegistrationError: it cannot be imported, or JSON cannot represent its arguments.
    """
    parts = build if isinstance(build, partial) else partial(build)
    module, name = getattr(parts.func, "__module__", None), getattr(parts.func, "__qualname__", "")
    if module in {None, "__main__"} or "<" in name or not name:
        raise RegistrationError(
            f"{name or parts.func!r} of the module {module} cannot be imported by another process: define "
            f"the class of a PyTorch module in a file that can be imported. {HOW_TO_BUILD}"
        )
    arguments = {"args": list(parts.args), "kwargs": dict(parts.keywords)}
    try:
        is_json = json.loads(json.dumps(arguments, allow_nan=False)) == arguments
    except (TypeError, ValueError):
        is_json = False
    if not is_json:
        raise RegistrationError(
            f"the arguments of build, {parts.args!r} and {parts.keywords!r}, cannot be saved as JSON. "
            f"{HOW_TO_BUILD}"
        )
    return {"module": module, "name": name, **arguments}
