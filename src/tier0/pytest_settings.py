"""The settings of a run of pytest: read at its start, and required only where a test uses Tier0."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest

from tier0.core.errors import SettingsError, Tier0Error, first_line
from tier0.core.settings import (
    PYTEST,
    IniValue,
    Settings,
    invalid_setting,
    merge_settings,
    read_setting,
    rows_for,
)

MARKER = "tier0_bentoml"
PROBLEM = "tier0_problem"
"""Key of the invalid settings in the output of an xdist worker."""


class RunSettings:
    """The settings of a run.

    Invalid settings are an error only if the run uses them: a variable of another program, or a file that
    only some jobs have, must not keep other tests from running.

    Args:
        config: configuration of the run.

    Attributes:
        problem: why the settings are invalid; None if they are valid.
    """

    def __init__(self, config: pytest.Config) -> None:
        rows = rows_for(PYTEST)
        self._options: Mapping[str, str | None] = {
            row.name: config.getoption(f"tier0_{row.name}") for row in rows
        }
        self._environ = dict(os.environ)
        self._ini = {row.name: found for row in rows if (found := _ini_value(config, row.ini)) is not None}
        self._settings: Settings | None = None
        self.problem: SettingsError | None = None
        try:
            self._settings = merge_settings(self._options, self._environ, self._ini)
        except SettingsError as problem:
            self.problem = problem

    def require(self) -> Settings:
        """Return the settings.

        Raises:
            SettingsError: they are invalid.
        """
        if self._settings is None:
            assert self.problem is not None  # noqa: S101 - the constructor has set one of the two
            raise self.problem.with_traceback(None)
        return self._settings

    def read(self, name: str) -> Any:
        """Return one setting, even if others are invalid; its default if it is invalid itself."""
        with suppress(SettingsError):
            return read_setting(name, self._options, self._environ, self._ini)
        return read_setting(name, {}, {})

    @property
    def ignored(self) -> tuple[str, ...]:
        """Variables that were ignored, each with the reason."""
        return () if self._settings is None else self._settings.ignored

    def describe(self) -> str:
        """Return the settings that are not at their default, or why they are invalid, on one line."""
        if self.problem is not None:
            return f"invalid settings, an error only for tests that use Tier0: {first_line(self.problem)}"
        return self.require().describe_changed()


def _ini_value(config: pytest.Config, key: str) -> IniValue | None:
    """Return the value of a key in pytest's configuration as it is in the file; None if it is not there.

    `pytest.Config.getini` returns only values of the type that was registered, and no origin.
    """
    found = getattr(config, "_inicfg", {}).get(key)
    value = getattr(found, "value", config.getini(key) if found is None else found)
    if value is None:
        return None
    if config.inipath is None or getattr(found, "origin", "file") == "override":
        return IniValue(value, "-o/--override-ini", config.invocation_params.dir)
    return IniValue(value, config.inipath.name, config.inipath.parent)


def require_settings(session: pytest.Session, settings: RunSettings) -> None:
    """End a run with a usage error if its tests use settings that are invalid.

    An xdist worker runs no tests in that case: its controller, which does not collect, ends the run.

    Raises:
        pytest.UsageError: the settings are invalid, and a collected test uses them.
    """
    if not any(map(_uses_settings, session.items)):
        return
    option = session.config.option
    lists_only = option.collectonly or option.showfixtures or option.show_fixtures_per_test
    if settings.problem is None and not lists_only and any(map(_uses_deployment, session.items)):
        settings.problem = _missing_service(settings.require())
    problem = settings.problem
    if problem is None or (lists_only and problem.setting != "groups"):  # the list depends on the groups only
        return
    output = getattr(session.config, "workeroutput", None)
    if output is None:
        raise pytest.UsageError(f"tier0: {problem}")
    output[PROBLEM] = str(problem)
    session.items.clear()


def _missing_service(settings: Settings) -> SettingsError | None:
    """Return why the service of the settings was not found; None if it was, or the settings have none.

    It is a file, a module or a folder, which is looked for once a test needs it.
    """
    if settings.service is None:
        return None
    from tier0.serving.service_source import ServiceSource  # noqa: PLC0415 - only such runs need it

    try:
        ServiceSource.find(settings.service)
    except Tier0Error as problem:
        what = str(problem).removeprefix("invalid ").removeprefix(f"service {settings.service!r}: ")
        return invalid_setting("service", settings.service, settings.sources["service"], what)
    return None


def _uses_settings(item: pytest.Item) -> bool:
    """Return whether a test has the marker, or a fixture that depends on the settings."""
    return item.get_closest_marker(MARKER) is not None or "tier0_settings" in getattr(
        item, "fixturenames", ()
    )


def _uses_deployment(item: pytest.Item) -> bool:
    """Return whether a test has the fixture that starts the service of the settings."""
    return "tier0_deployment" in getattr(item, "fixturenames", ())


def report_usage_error(node: Any) -> None:
    """End the run of an xdist controller whose worker found that its settings are invalid.

    Raises:
        pytest.UsageError: they are.
    """
    problem = getattr(node, "workeroutput", {}).get(PROBLEM)
    if problem:
        raise pytest.UsageError(f"tier0: {problem}")
