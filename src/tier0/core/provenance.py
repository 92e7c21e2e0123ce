"""Provenance of a run: its start, commit, branch and CI job, and versions of packages."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple, TypedDict
from urllib.parse import quote

PACKAGES = ("numpy", "pandas", "scikit-learn", "xgboost", "lightgbm", "mlflow", "bentoml", "pytest-tier0")


class Provenance(TypedDict):
    """Provenance of a run.

    Attributes:
        started: start of the run, ISO 8601 in UTC.
        python: version of Python.
        versions: versions of the installed `PACKAGES`.
        commit: git commit of the working directory, or of the CI job; None if there is none.
        branch: branch, or tag, of the CI job or the working directory; None if there is none.
        ci: name and address of the CI job, see `CiJob`; None outside of one.
    """

    started: str
    python: str
    versions: dict[str, str]
    commit: str | None
    branch: str | None
    ci: dict[str, str] | None


class CiJob(NamedTuple):
    """The job of a CI system in which a run takes place.

    Attributes:
        name: name of the CI system.
        url: address of the job, or of its workflow; empty if the system does not tell it.
        commit: commit that is tested; empty if the system does not tell it.
        branch: branch or tag that is tested; empty if the system does not tell it.
    """

    name: str
    url: str
    commit: str
    branch: str


class _Variables(NamedTuple):
    """The variables of a CI system; of several names for one fact, the first that is set counts.

    Attributes:
        name: name of the CI system.
        sign: variable that is set in its jobs.
        url: template of a job's address, in which a name in braces is a variable.
        commit: variables with the commit.
        branch: variables with the branch or the tag.
    """

    name: str
    sign: str
    url: str
    commit: tuple[str, ...]
    branch: tuple[str, ...]


CI_SYSTEMS = (
    _Variables(
        "GitHub Actions",
        "GITHUB_ACTIONS",
        "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}",
        ("GITHUB_SHA",),
        ("GITHUB_HEAD_REF", "GITHUB_REF_NAME"),
    ),
    _Variables(
        "GitLab CI",
        "GITLAB_CI",
        "{CI_JOB_URL}",
        ("CI_COMMIT_SHA",),
        ("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "CI_COMMIT_REF_NAME"),
    ),
    _Variables(
        "Jenkins",
        "JENKINS_URL",
        "{BUILD_URL}",
        ("GIT_COMMIT",),
        ("CHANGE_BRANCH", "BRANCH_NAME", "GIT_BRANCH"),
    ),
    _Variables(
        "Azure Pipelines",
        "TF_BUILD",
        "{SYSTEM_COLLECTIONURI}{SYSTEM_TEAMPROJECT}/_build/results?buildId={BUILD_BUILDID}",
        ("BUILD_SOURCEVERSION",),
        ("SYSTEM_PULLREQUEST_SOURCEBRANCH", "BUILD_SOURCEBRANCHNAME"),
    ),
    _Variables(
        "Buildkite", "BUILDKITE", "{BUILDKITE_BUILD_URL}", ("BUILDKITE_COMMIT",), ("BUILDKITE_BRANCH",)
    ),
    _Variables(
        "CircleCI", "CIRCLECI", "{CIRCLE_BUILD_URL}", ("CIRCLE_SHA1",), ("CIRCLE_BRANCH", "CIRCLE_TAG")
    ),
)
NOT_SET = {"", "false", "0"}
"""Values of a CI system's sign outside of its jobs."""


def provenance(environ: Mapping[str, str] = os.environ) -> Provenance:
    """Return the provenance of a run that starts now.

    Args:
        environ: environment variables, by which CI systems describe their jobs.
    """
    job = ci_job(environ)
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": versions(),
        "commit": commit() or (job.commit if job else "") or None,
        "branch": (job.branch if job else "") or _branch(),
        "ci": {"name": job.name, "url": job.url} if job else None,
    }


def ci_job(environ: Mapping[str, str]) -> CiJob | None:
    """Return the CI job of which this process is a part; None if it is not part of one."""
    for system in CI_SYSTEMS:
        if environ.get(system.sign, "").lower() not in NOT_SET:
            commit_, branch = (
                next(filter(None, map(environ.get, names)), "") for names in (system.commit, system.branch)
            )
            return CiJob(
                system.name, _job_address(system.url, environ), commit_, branch.removeprefix("refs/heads/")
            )
    return None


def _job_address(template: str, environ: Mapping[str, str]) -> str:
    """Return the address of a job without credentials; empty if a part is unknown, or it is not a link."""
    values = {name: environ.get(name, "") for name in re.findall(r"{(\w+)}", template)}
    url = template.format(
        **{name: value if "://" in value else quote(value) for name, value in values.items()}
    )
    found = re.fullmatch(r"(https?://)(?:[^/@]*@)?([^\s<>\"'`]+)", url)
    return "".join(found.groups()) if found and all(values.values()) else ""


def versions() -> dict[str, str]:
    """Return the version of each of `PACKAGES` that is installed."""
    return {name: version for name in PACKAGES if (version := version_of(name)) is not None}


def version_of(package: str) -> str | None:
    """Return the version of a distribution; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit() -> str | None:
    """Return the git commit of the working directory; None if it has none."""
    return _told_by_git("rev-parse", "HEAD")


def _branch() -> str | None:
    """Return the git branch of the working directory; None if it has none, or is at no branch."""
    return _told_by_git("symbolic-ref", "--quiet", "--short", "HEAD")


def _told_by_git(*arguments: str) -> str | None:
    command = ["git", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
