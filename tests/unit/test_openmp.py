from __future__ import annotations

import os

import pytest

from tier0.core.openmp import wait_passively


@pytest.mark.parametrize(("given", "used"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_wait_as_the_user_wishes_or_without_computing(
    given: str | None, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", given or "")
    if given is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")

    wait_passively()

    assert os.environ["OMP_WAIT_POLICY"] == used
