"""Services of a user as projects have them: in packages, below a prefix, with TLS, with variables set."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

import tier0
from tier0.client import SyncBentoMLClient
from tier0.core.event_log import EventLog
from tier0.golden.rows import GoldenRows
from tier0.runs.deployment import Deployment

pytestmark = [pytest.mark.server, pytest.mark.timeout(120)]
SERVICE = """
import os, sys
import bentoml
{imports}

@bentoml.service({options})
class Tiny:
    @bentoml.api{api}
    def predict(self, rows: list[list[float]]) -> dict[str, object]:
        print("\\u0394 printed")
        return {{"predictions": [difference(*row) for row in rows], "model_tag": os.environ["TINY_TAG"]}}
"""
ROWS = [[1.0, 2.0], [3.5, 1.0], [5.0, 9.0]]
GOLDEN = GoldenRows(["a", "b"], ROWS, [a - b for a, b in ROWS], None, [], tag="tiny:1")
CHECKS = ["health.ready", "health.body_agrees", "observability.metrics_can_be_read", "parity", "identity"]


@pytest.fixture(autouse=True)
def empty_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home" / "models").mkdir(parents=True)
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TINY_TAG", "tiny:1")


def write_service(
    path: Path, *, imports: str = "difference = lambda a, b: a - b", options: str = "", api: str = ""
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SERVICE.format(imports=imports, options=options, api=api), encoding="utf-8")


def make_certificate(folder: Path) -> None:
    """Make a certificate that has expired, for another host."""
    made = trustme.CA().issue_cert("models.example", not_after=datetime(2020, 1, 1, tzinfo=UTC))
    made.private_key_pem.write_to_path(folder / "key.pem")
    made.cert_chain_pems[0].write_to_path(folder / "cert.pem")


def passed(deployment: Deployment) -> set[str]:
    verdict = tier0.check_serving(deployment, groups=CHECKS, on_fail="return")
    assert not [result.explain() for status in ("fail", "error") for result in verdict.with_status(status)]
    return {result.id for result in verdict.with_status("pass")}


@pytest.mark.parametrize("prefix", ["/v1", pytest.param("team/v2/", marks=pytest.mark.slow)])
def test_a_prefixed_service_of_a_package_with_tls_is_verified_whatever_is_inherited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    package = tmp_path / "src" / "shop"
    tls = "ssl={'enabled': True, 'certfile': 'cert.pem', 'keyfile': 'key.pem'}"
    write_service(
        package / "serving.py",
        imports="from .maths import difference",
        options=f"path_prefix={prefix!r}, {tls}",
    )
    (package / "maths.py").write_text("def difference(a, b):\n    return a - b\n", encoding="utf-8")
    (package / "types.py").write_text("raise ImportError('not of the standard library')\n", encoding="utf-8")
    (package / "__init__.py").touch()
    make_certificate(tmp_path)
    for name, value in (
        ("PYTHONWARNINGS", "error"),
        ("PYTHONIOENCODING", "ascii"),
        ("PYTHONINSPECT", "1"),
        ("BENTOML_PORT", "1"),
        ("BENTOML_DEBUG", "true"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path / "home")
    reported: list[str] = []
    events = EventLog(listeners=[lambda event: reported.append(event.message)])

    with Deployment.from_service(f"{package}/serving.py:Tiny", golden=GOLDEN, events=events) as deployment:
        assert deployment.url.startswith("https://127.0.0.1:")
        assert passed(deployment) >= {
            "health.ready",
            "observability.metrics_can_be_read",
            "parity.golden_rows",
            "identity.expected_model",
        }
        untrusting = tier0.check_serving(
            replace(deployment, client=SyncBentoMLClient),
            groups=["parity.through_client"],
            on_fail="return",
        )
        assert untrusting.exit_status == 2, "the client cannot know the certificate"
        assert deployment.server is not None
        deployment.server.halt()
        deployment.server.restart()
        assert deployment.server.url == deployment.url

    (line,) = [message for message in reported if message.startswith("not passed on")]
    assert all(
        name in line for name in ("PYTHONWARNINGS", "PYTHONIOENCODING", "BENTOML_PORT", "BENTOML_DEBUG")
    )


def test_bentomls_configuration_has_its_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare module, found in the working directory, with TLS by BENTOML_CONFIG and without a prefix."""
    write_service(tmp_path / "app.py", options="ssl={'enabled': False}", api="(route='/v1/predict')")
    make_certificate(tmp_path)
    config = "services:\n  ssl: {enabled: true, certfile: cert.pem, keyfile: key.pem}\n"
    (tmp_path / "bentoml.yaml").write_text(config, encoding="utf-8")
    monkeypatch.setenv("BENTOML_CONFIG", "bentoml.yaml")
    monkeypatch.chdir(tmp_path)

    with Deployment.from_service("app:Tiny", golden=GOLDEN) as deployment:
        assert passed(deployment) >= {"health.ready", "parity.golden_rows"}
