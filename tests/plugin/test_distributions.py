"""What the archives of a release contain. `make release-check` installs and uses them, too."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("target", ["wheel", "sdist"])
def test_the_licence_is_in(tmp_path: Path, target: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(tmp_path)],
        cwd=ROOT,
        check=True,
    )
    (built,) = tmp_path.iterdir()

    assert licence_in(built) == (ROOT / "LICENSE").read_bytes()


def test_the_description_can_be_read_without_the_repository(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)],
        cwd=ROOT,
        check=True,
    )
    (built,) = tmp_path.iterdir()
    with zipfile.ZipFile(built) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        description = wheel.read(name).decode()

    links = re.findall(r"\]\(([^)]+)\)", description)

    assert {urlsplit(link).scheme for link in links} == {"https"}
    ours = [urlsplit(link).path.split("/main/")[1] for link in links if "/tier0/" in link]
    assert {"docs/images/caught.svg", "docs/tutorial.md", "LICENSE"} <= set(ours)
    assert all((ROOT / path).exists() for path in ours)


def licence_in(built: Path) -> bytes:
    if built.suffix == ".whl":
        with zipfile.ZipFile(built) as wheel:
            return wheel.read(
                next(name for name in wheel.namelist() if name.endswith(".dist-info/licenses/LICENSE"))
            )
    with tarfile.open(built) as sdist:
        member = sdist.extractfile(f"{built.name.removesuffix('.tar.gz')}/LICENSE")
        assert member is not None
        return member.read()
