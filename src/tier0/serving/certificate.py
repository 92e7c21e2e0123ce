"""The certificate of a service with TLS of its own, which the run has started on loopback.

The run trusts exactly the certificate that its own server presents: the server is recognised by its
processes, which listen on the port. Name, issuer and dates of the certificate are not checked, since it is
for the service's public name, or made for tests.
"""

from __future__ import annotations

import socket
import ssl

NO_CHECK_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, for which Python has no name."""


def fetch_certificate(host: str, port: int, timeout: float) -> str:
    """Return the certificate that a server presents, in PEM; it is not verified.

    Raises:
        OSError: nothing responds within *timeout* seconds, or not with TLS.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((host, port), timeout=timeout) as connection,
        context.wrap_socket(connection) as connected,
    ):
        return ssl.DER_cert_to_PEM_cert(connected.getpeercert(binary_form=True) or b"")


def trust_only(certificate: str) -> ssl.SSLContext:
    """Return a context that trusts the server with this certificate (in PEM) and no other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=certificate)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME
    return context
