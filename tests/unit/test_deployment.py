from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from tier0.checks.serving.harness.sender import UnansweredError
from tier0.core.errors import RegistrationError, Tier0Error
from tier0.golden.rows import GoldenRows
from tier0.runs.deployment import Deployment
from tier0.runs.verify import check_serving

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
    with pytest.raises(RegistrationError, match="there is no model"):
        Deployment.from_url("http://127.0.0.1:3000", model=tag, store=store(tmp_path))


def test_a_pointer_that_is_empty_is_told(tmp_path: Path) -> None:
    """BentoML truncates it before it writes it."""
    (store(tmp_path) / "models" / "churn" / "latest").write_text("", encoding="utf-8")

    with pytest.raises(RegistrationError, match=r"there is no model 'churn:latest' in .* There is: one, two"):
        Deployment.from_url("http://127.0.0.1:3000", model="churn:latest", store=tmp_path)


def test_the_tag_comes_from_the_model_or_else_from_the_golden_rows() -> None:
    assert Deployment.from_url("http://127.0.0.1:3000", golden=GOLDEN).tag == "churn:of_the_file"
    assert Deployment.from_url("http://127.0.0.1:3000", golden=GOLDEN, model="churn:one").tag == "churn:one"


@pytest.mark.parametrize(
    ("service", "says"),
    [
        ("service.py", "expected path/to/file.py:Class"),
        ("service:Churn", "expected path/to/file.py:Class"),
        ("nowhere/service.py:Churn", "nowhere/service.py not found"),
    ],
)
def test_an_invalid_service_is_rejected_before_it_is_started(service: str, says: str) -> None:
    with pytest.raises(Tier0Error, match=says):
        Deployment.from_service(service)


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_unreadable_certificates_are_rejected_before_any_request(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content, encoding="utf-8")

    with pytest.raises(Tier0Error, match=r"cannot read certificates from --ca '.*ca\.pem'"):
        Deployment.from_url("https://127.0.0.1:3000", ca=path)


def test_a_service_with_a_private_certificate_authority_is_checked_if_that_is_trusted(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with serving_tls(authority.issue_cert("127.0.0.1")) as url:
        verdict = check_serving(Deployment.from_url(url, ca=tmp_path / "ca.pem"), groups=["health.ready"])
        with pytest.raises(
            UnansweredError, match=r"nothing responds at https://127.0.0.1:.*CERTIFICATE_VERIFY_FAILED"
        ):
            check_serving(Deployment.from_url(url), groups=["health.ready"])

    assert verdict.verdict == "pass"


class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        content = b"{}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving_tls(certificate: trustme.LeafCert) -> Iterator[str]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    with http.server.HTTPServer(("127.0.0.1", 0), Ready) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"https://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()
