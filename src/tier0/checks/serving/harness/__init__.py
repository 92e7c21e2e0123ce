"""Machinery of the service checks: the service under test, and the sender of all requests."""
