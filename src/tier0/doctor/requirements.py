"""The requirements of Tier0: which are missing, and the command that installs them."""

from __future__ import annotations

import importlib.metadata
import shlex
import shutil
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

DISTRIBUTION = "pytest-tier0"
BASE = "base"
EVERYTHING = "all"
"""The extra that contains all others but those of large frameworks; each package that only it has is a group
of its own."""
NEEDED_FOR = {
    BASE: "everything",
    "bentoml": "registering and serving models: pytest -m tier0_bentoml, tier0 serve",
    "report": "the report in HTML: pytest --html=FILE",
    "service": "services of your own: pytest --tier0-service, tier0 golden",
    "pipeline": "training models: pytest -m tier0_bentoml, tier0 run",
    "speed": "more requests per second: tier0 serve, tier0 build",
    "api": "routes of an API: tier0.integrations.router",
    "opik": "traces in Opik: tier0.client.opik_tracer",
    "causal": "the causal service of tier0 serve --all",
    "dask": "tier0 run --dask",
    "pytest-asyncio": "the fixture tier0_client: pytest -m tier0_bentoml",
    "pytest-timeout": "a limit for every test",
    "pytest-xdist": "pytest -n",
}
"""Purpose of each group of packages, in their order; a package belongs to the first group that has it."""
MAIN_JOB = {BASE, "bentoml"}
"""Groups without which no model can be registered and served."""


class Group(NamedTuple):
    """Packages that are needed for one purpose.

    Attributes:
        name: name, as in `NEEDED_FOR`.
        extra: extra that installs them; empty for the base, None for a package that only ``all`` has.
        requirements: requirements that no group before it has.
    """

    name: str
    extra: str | None
    requirements: tuple[Requirement, ...]

    @property
    def label(self) -> str:
        """Name in the output of the command."""
        return f"[{self.extra}]" if self.extra else self.name


class Use(NamedTuple):
    """A use of Tier0 that needs only some of the packages.

    Attributes:
        name: short name.
        commands: how it is begun.
        groups: names of the groups of packages that it needs.
        packages: further distributions that it needs.
    """

    name: str
    commands: str
    groups: tuple[str, ...]
    packages: tuple[str, ...] = ()

    def lacks(self, lacking: Mapping[Group, Iterable[Requirement]]) -> list[str]:
        """Return the distributions that are missing for it."""
        return [
            one.name
            for group, missing in lacking.items()
            for one in missing
            if group.name in self.groups or one.name in self.packages
        ]


USES = (
    Use("check a running service", "tier0 verify URL, pytest -m tier0_bentoml --tier0-url URL", (BASE,)),
    Use(
        "start and check a service of yours",
        "pytest -m tier0_bentoml --tier0-service FILE.py:CLASS",
        (BASE, "bentoml"),
    ),
    Use(
        "register and serve a model of yours",
        "tier0.register_model_for_serving, tier0 serve",
        (BASE, "bentoml"),
        ("scikit-learn",),
    ),
    Use(
        "train, register and serve a model",
        "pytest -m tier0_bentoml, tier0 run",
        (BASE, "bentoml"),
        ("scikit-learn", "pandas", "optuna", "mlflow"),
    ),
)
ALGORITHM_OF = {"xgboost": "xgboost", "lightgbm": "lightgbm"}
"""Distributions that only one algorithm of the training needs, to its name in --tier0-algorithms."""


class Metadata(NamedTuple):
    """The requirements of Tier0.

    Attributes:
        python: supported versions of Python.
        groups: base and extras, in the order of `NEEDED_FOR`.
        source: arguments with which pip installs Tier0, without extras.
        extras: each extra with the requirements of all packages that it installs.
    """

    python: SpecifierSet
    groups: tuple[Group, ...]
    source: tuple[str, ...]
    extras: Mapping[str, frozenset[Requirement]]

    @classmethod
    def read(cls) -> Metadata:
        """Read the installed distribution, or the pyproject.toml of a checkout that is not installed."""
        try:
            own = importlib.metadata.metadata(DISTRIBUTION)
        except importlib.metadata.PackageNotFoundError:
            return cls.from_checkout(Path(__file__).parents[3])
        required = [Requirement(text) for text in importlib.metadata.requires(DISTRIBUTION) or []]
        by_extra = {"": [one for one in required if one.marker is None or one.marker.evaluate({"extra": ""})]}
        for extra in own.get_all("Provides-Extra") or []:
            by_extra[extra] = [
                one for one in required if one.marker is not None and one.marker.evaluate({"extra": extra})
            ]
        python = SpecifierSet(own["Requires-Python"])
        return cls(python, _each_once(by_extra), (DISTRIBUTION,), _packages_of(by_extra))

    @classmethod
    def from_checkout(cls, folder: Path) -> Metadata:
        """Read the pyproject.toml of a checkout."""
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        texts = {"": project["dependencies"], **project["optional-dependencies"]}
        by_extra = {extra: [Requirement(text) for text in lines] for extra, lines in texts.items()}
        python = SpecifierSet(project["requires-python"])
        return cls(python, _each_once(by_extra), ("-e", str(folder)), _packages_of(by_extra))


def _each_once(by_extra: Mapping[str, Iterable[Requirement]]) -> tuple[Group, ...]:
    """Return groups that contain each package once."""
    seen = {DISTRIBUTION}
    groups = []
    for extra in ["", *(name for name in NEEDED_FOR if name in by_extra), EVERYTHING]:
        new = tuple(one for one in by_extra.get(extra, ()) if one.name not in seen)
        seen |= {one.name for one in new}
        if extra == EVERYTHING:
            groups += [Group(one.name, None, (one,)) for one in new]
        else:
            groups.append(Group(extra or BASE, extra, new))
    return tuple(groups)


def _packages_of(by_extra: Mapping[str, Iterable[Requirement]]) -> dict[str, frozenset[Requirement]]:
    """Return each extra with its packages, and those of the extras that it contains."""

    def packages(extra: str) -> Iterator[Requirement]:
        for one in by_extra[extra]:
            if one.name == DISTRIBUTION:
                for contained in one.extras:
                    yield from packages(contained)
            else:
                yield one

    return {extra: frozenset(packages(extra)) for extra in by_extra if extra}


def missing_of(
    requirements: Iterable[Requirement], installed: Callable[[str], str | None]
) -> dict[Requirement, str]:
    """Return the requirements that are not met, each with the reason.

    Args:
        requirements: requirements of a group of packages.
        installed: returns the version of a distribution, or None if it is not installed.
    """
    lacking = {}
    for requirement in requirements:
        version = installed(requirement.name)
        if version is None:
            lacking[requirement] = f"{requirement.name} is not installed"
        elif not requirement.specifier.contains(version, prereleases=True):
            lacking[requirement] = f"{requirement.name} is {version}, but {requirement.specifier} is needed"
    return lacking


def install_command(
    lacking: Mapping[Group, Iterable[Requirement]], metadata: Metadata, python: str
) -> str | None:
    """Return the one command that installs what is missing; None if nothing is missing.

    Args:
        lacking: missing requirements by group.
        metadata: the requirements of Tier0.
        python: path of the interpreter to install for.
    """
    if not lacking:
        return None
    extras = [group.extra for group in lacking if group.extra]
    single = [
        without_markers(one) for group, missing in lacking.items() if group.extra is None for one in missing
    ]
    if lacking.keys() >= {group for group in metadata.groups if group.name != BASE}:
        extras, single = [EVERYTHING], []
    *flags, source = metadata.source
    target = f"{source}[{','.join(extras)}]" if extras else source
    return shlex.join([*_installer(python), *flags, target, *single])


def without_markers(requirement: Requirement) -> str:
    """Return the requirement as pip takes it."""
    return f"{requirement.name}{requirement.specifier}"


def _installer(python: str) -> list[str]:
    uv = shutil.which("uv")
    if find_spec("pip") is None and uv:  # an environment that uv made has no pip
        return [uv, "pip", "install", "--python", python]
    return [python, "-m", "pip", "install"]
