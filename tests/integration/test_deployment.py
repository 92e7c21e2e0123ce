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
from tier0.runs.deployment import Deployment
from tier0.runs.verify import check_serving


def test_a_service_behind_a_private_authority_is_judged_when_that_is_trusted(tmp_path: Path) -> None:
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
