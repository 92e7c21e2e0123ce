"""Checks that a release can be made of this checkout: ``make release-check``.

Builds the source distribution, and from it the wheel, as a release does. The wheel is then installed without
extras in an environment of its own and used there; the source distribution is unpacked and runs its own unit
tests. Nothing is uploaded. Exit status 0: all steps passed, 1: one failed.
"""

from __future__ import annotations

import argparse
import email
import email.message
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
LICENSE = (ROOT / "LICENSE").read_bytes()
LINK = re.compile(r"\]\(([^)#\s]+)")
UNIT_TESTS = (
    "-q",
    "-n",
    "2",
    "--dist",
    "loadfile",
    "-p",
    "no:cacheprovider",
    "-m",
    "not alone and not slow and not torture",
    "tests/unit",
)
SMOKE_TEST = """
import tier0
from tier0.faults import Reply


def test_the_plugin_is_loaded(pytestconfig, tier0_faults):
    assert pytestconfig.pluginmanager.has_plugin("tier0.pytest_plugin")
    assert tier0_faults.server(Reply()).url.startswith("http://127.0.0.1:")


def test_the_public_names_are_known():
    assert tier0.Declaration and tier0.Deployment and tier0.check_client and tier0.check_serving
"""


class ReleaseError(Exception):
    """A reason why no release can be made, with what to do about it."""


def main() -> int:
    """Run every step, and print what was checked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--tools",
        type=Path,
        required=True,
        help="the folder of executables of an environment with build and twine",
    )
    tools = parser.parse_args().tools.absolute()
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tier0-release-") as name:
        folder = Path(name)
        try:
            version = checked_version()
            sdist, wheel = build(tools, folder / "dist", version)
            check_metadata(tools, sdist, wheel)
            check_sdist(sdist)
            check_wheel(wheel, version)
            use_wheel(wheel, folder)
            test_sdist(sdist, folder / "sdist")
        except ReleaseError as problem:
            print(f"release-check failed: {problem}", file=sys.stderr)
            return 1
    print(f"release-check passed: {sdist.name} and {wheel.name}, in {time.monotonic() - start:.0f} s")
    return 0


def checked_version() -> str:
    """Return the version of the package, after a look for its section in the changelog."""
    found = re.search(
        r'^__version__ = "(.+)"$',
        (ROOT / "src" / "tier0" / "__init__.py").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    if found is None:
        raise ReleaseError('src/tier0/__init__.py has no line __version__ = "…"')
    step(f"version {found[1]}: CHANGELOG.md has a section for it")
    if f"\n## [{found[1]}]" not in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"):
        raise ReleaseError(f"CHANGELOG.md has no section '## [{found[1]}]': add one, or correct __version__")
    return found[1]


def build(tools: Path, folder: Path, version: str) -> tuple[Path, Path]:
    """Build the source distribution, and the wheel from it."""
    step("build the source distribution, and the wheel from it")
    run([tools / "python", "-m", "build", "--outdir", folder, ROOT])
    names = [f"pytest_tier0-{version}.tar.gz", f"pytest_tier0-{version}-py3-none-any.whl"]
    built = sorted(path.name for path in folder.iterdir())
    if built != sorted(names):
        raise ReleaseError(f"the build made {', '.join(built)}, expected {', '.join(names)}")
    return folder / names[0], folder / names[1]


def check_metadata(tools: Path, *distributions: Path) -> None:
    """Let twine check what the package index will."""
    step("twine check --strict: the metadata and the README are fit for a package index")
    run([tools / "twine", "check", "--strict", *distributions])


def check_sdist(sdist: Path) -> None:
    """Check that the source distribution has the files that users and packagers look for."""
    step("the source distribution has the licence and the documents")
    with tarfile.open(sdist) as archive:
        members = {member.name.partition("/")[2]: member for member in archive.getmembers()}
        missing = [
            name
            for name in ("LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md", "Makefile", "PKG-INFO")
            if name not in members
        ]
        if missing:
            raise ReleaseError(
                f"the source distribution lacks {', '.join(missing)}: "
                "add them to tool.hatch.build.targets.sdist in pyproject.toml"
            )
        packed = archive.extractfile(members["LICENSE"])
        if packed is None or packed.read() != LICENSE:
            raise ReleaseError("LICENSE in the source distribution differs from the one in this checkout")


def check_wheel(wheel: Path, version: str) -> None:
    """Check that the wheel has the whole package, the licence, and nothing else at its top level."""
    step("the wheel has the licence and every file of the package, and nothing else")
    info = f"pytest_tier0-{version}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        if f"{info}/licenses/LICENSE" not in names or archive.read(f"{info}/licenses/LICENSE") != LICENSE:
            raise ReleaseError(
                "the wheel has no licenses/LICENSE that equals LICENSE: check license-files in pyproject.toml"
            )
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
    if metadata["License-Expression"] != "Apache-2.0":
        raise ReleaseError(
            "the wheel's metadata must have License-Expression 'Apache-2.0', "
            f"got {metadata['License-Expression']!r}"
        )
    tracked = run(["git", "ls-files", "src/tier0"], cwd=ROOT).split()
    expected = {path.removeprefix("src/") for path in tracked}
    packed = {name for name in names if not name.startswith(info)}
    if packed != expected:
        lacking, foreign = sorted(expected - packed), sorted(packed - expected)
        raise ReleaseError(
            "the wheel differs from the package in git: "
            f"missing {lacking or 'nothing'}, too many {foreign or 'none'}"
        )
    if relative := [link for link in LINK.findall(str(metadata.get_payload())) if "://" not in link]:
        raise ReleaseError(
            f"the package index cannot follow {relative[0]} in the description: see scripts/absolute_links.py"
        )
    if "//repository.example/" in str(metadata.get_payload()):
        print("  note: the README's links lead nowhere yet; fill in their address in pyproject.toml")
    if not metadata.get_all("Project-URL"):
        print("  note: no project URLs yet; fill in [project.urls] in pyproject.toml before the first upload")


def use_wheel(wheel: Path, folder: Path) -> None:
    """Install the wheel without extras in a new environment, and use the package there."""
    step("install the wheel, without extras, in a new environment")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel])
    run([python, "-m", "pip", "check"])
    step("use it there: the command, the package, and a test with the plugin")
    project = folder / "project"
    project.mkdir()
    (project / "test_smoke.py").write_text(SMOKE_TEST, encoding="utf-8")
    usage = run([python.with_name("tier0"), "--help"], cwd=project)
    if "verify" not in usage:
        raise ReleaseError(f"tier0 --help does not list the command verify:\n{usage}")
    imported = run([python, "-c", "import tier0; print(tier0.__version__, tier0.__file__)"], cwd=project)
    if str(folder) not in imported:
        raise ReleaseError(f"import tier0 found {imported.strip()}, not the installed wheel")
    run([python, "-m", "pytest", "-q", "test_smoke.py"], cwd=project)


def test_sdist(sdist: Path, folder: Path) -> None:
    """Unpack the source distribution, and run its unit tests on its own sources."""
    step("unpack the source distribution, and run its unit tests")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = folder.iterdir()
    sources = {
        "PYTHONPATH": str(unpacked / "src")
    }  # before the checkout's, which this environment has installed
    imported = run(
        [sys.executable, "-c", "import tier0; print(tier0.__file__)"], cwd=unpacked, variables=sources
    ).strip()
    if not imported.startswith(str(unpacked)):
        raise ReleaseError(f"the unpacked tests would test {imported}, not the unpacked sources")
    print(
        "  "
        + run([sys.executable, "-m", "pytest", *UNIT_TESTS], cwd=unpacked, variables=sources)
        .strip()
        .rpartition("\n")[2]
    )


def step(title: str) -> None:
    """Print what is done next."""
    print(f"- {title}", flush=True)


def run(
    command: Sequence[str | Path], cwd: Path | None = None, variables: Mapping[str, str] | None = None
) -> str:
    """Run a command without the settings of this environment, and return its standard output.

    Raises:
        ReleaseError: its exit status was not 0; with all that it printed.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TIER0_", "PYTEST_", "PYTHON"))
    }
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**environment, **(variables or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ReleaseError(
            f"{' '.join(map(str, command))} ended with status {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
