"""What the archives of a release contain. `make release-check` installs and uses them, too."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

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
