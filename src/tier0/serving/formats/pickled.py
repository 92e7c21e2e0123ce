"""Estimators with scikit-learn's interface, pickled together with the user's own code that they need."""

from __future__ import annotations

import pickle
import pickletools
import sys
import threading
import warnings
from collections.abc import Container, Mapping
from types import ModuleType
from typing import Any

import cloudpickle

from tier0.core.errors import RegistrationError
from tier0.core.own_code import is_own_code

FILE = "saved_model.pkl"
BENTOML_MODULE = "bentoml.sklearn"
_REGISTRY_LOCK = threading.Lock()
"""The modules that cloudpickle pickles by value are global: two registrations at once would mix theirs."""


def adapt(model: Any) -> Any:
    """Return the model itself."""
    return model


def save(model: Any) -> tuple[bytes, dict[str, Any]]:
    """Return the pickled model.

    Raises:
        RegistrationError: it cannot be pickled.
    """
    try:
        return pickle_with_own_code(model), {}
    except Exception as problem:
        raise RegistrationError(
            f"the model cannot be pickled, so it cannot be saved: {type(problem).__name__}: {problem}"
        ) from problem


def load(content: bytes, _: Mapping[str, Any]) -> Any:
    """Unpickle a model whose file's writers and digest were checked."""
    with warnings.catch_warnings():
        # scikit-learn's InconsistentVersionWarning
        warnings.filterwarnings("error", message=".*unpickle estimator.*")
        return pickle.loads(content)  # noqa: S301 - its writers were checked  # nosec B301


def pickle_with_own_code(model: Any) -> bytes:
    """Pickle a model together with the user's own code that it needs, such as a project's transformers.

    Own code is pickled by value, because a server elsewhere could not import it. Where that is impossible,
    for example because a module holds a lock, all code is pickled by reference: the fresh interpreter that
    verifies the model then decides whether it can be imported.
    """
    content: bytes = cloudpickle.dumps(model)
    by_reference = content
    own: dict[str, ModuleType] = {}
    with _REGISTRY_LOCK:
        try:
            # Code that is pickled by value can name further modules: the helpers that it calls.
            while new := _own_modules_named_in(content, already=own):
                own |= new
                content = _pickle_by_value(model, own)
        except Exception:  # noqa: BLE001 - pickling calls methods of the user's classes
            return by_reference
    return content


def _pickle_by_value(model: Any, modules: Mapping[str, ModuleType]) -> bytes:
    """Pickle a model with the functions and classes of *modules*."""
    added = [
        module
        for name, module in modules.items()
        if name not in cloudpickle.list_registry_pickle_by_value()  # what the user registered stays so
    ]
    for module in added:
        cloudpickle.register_pickle_by_value(module)
    try:
        return cloudpickle.dumps(model)  # type: ignore[no-any-return]
    finally:
        for module in added:
            cloudpickle.unregister_pickle_by_value(module)


def _own_modules_named_in(content: bytes, already: Container[str]) -> dict[str, ModuleType]:
    """Return the loaded modules of the user's own code that a pickle may need, by name.

    Any text in the pickle may be the name of a module, and the names of all modules that it needs are there.
    """
    texts = {value for _, value, _ in pickletools.genops(content) if isinstance(value, str)}
    return {
        name: module
        for name in sorted((texts & sys.modules.keys()) - {"__main__"})
        if name not in already
        and isinstance(module := sys.modules.get(name), ModuleType)
        and module.__name__ == name
        and is_own_code(module)
    }
