from __future__ import annotations

from pathlib import Path

import pytest

from tier0.core.errors import RegistrationError, Tier0Error
from tier0.golden.rows import GoldenRows
from tier0.runs.deployment import Deployment

GOLDEN = GoldenRows(["a"], [[1.0]], [1.0], None, [], tag="churn:of_the_file")


def store(tmp_path: Path) -> Path:
    for version in ("one", "two"):
        (tmp_path / "models" / "churn" / version).mkdir(parents=True)
        (tmp_path / "models" / "churn" / version / "model.yaml").write_text("", encoding="utf-8")
    (tmp_path / "models" / "churn" / "latest").write_text("two", encoding="utf-8")
    return tmp_path


def test_latest_is_resolved_once(tmp_path: Path) -> None:
    deployment = Deployment.from_url("http://127.0.0.1:3000/", model="churn:latest", store=store(tmp_path))

    assert (deployment.url, deployment.tag) == ("http://127.0.0.1:3000", "churn:two")
    assert deployment.golden is None, "a model that was saved without Tier0 has none"


@pytest.mark.parametrize("tag", ['Model(tag="churn:one")', "churn:three", "'churn:one'", "", "../churn:one"])
def test_a_tag_that_is_none_is_refused_with_what_there_is(tmp_path: Path, tag: str) -> None:
    with pytest.raises(RegistrationError, match=r"no model .* in "):
        Deployment.from_url("http://127.0.0.1:3000", model=tag, store=store(tmp_path))


def test_a_pointer_that_is_empty_is_told(tmp_path: Path) -> None:
    """BentoML truncates it before it writes it."""
    (store(tmp_path) / "models" / "churn" / "latest").write_text("", encoding="utf-8")

    with pytest.raises(RegistrationError, match=r"'churn:latest' in .*: one, two"):
        Deployment.from_url("http://127.0.0.1:3000", model="churn:latest", store=tmp_path)


def test_the_tag_comes_from_the_model_or_else_from_the_golden_rows() -> None:
    assert Deployment.from_url("http://127.0.0.1:3000", golden=GOLDEN).tag == "churn:of_the_file"
    assert Deployment.from_url("http://127.0.0.1:3000", golden=GOLDEN, model="churn:one").tag == "churn:one"


def test_an_invalid_service_is_rejected_before_it_is_started() -> None:
    with pytest.raises(Tier0Error, match=r"nowhere/service\.py not found"):
        Deployment.from_service("nowhere/service.py:Churn")


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_unreadable_certificates_are_rejected_before_any_request(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content, encoding="utf-8")

    with pytest.raises(Tier0Error, match=r"cannot read certificates from --ca '.*ca\.pem'"):
        Deployment.from_url("https://127.0.0.1:3000", ca=path)
