"""Machinery of the service checks: the target they see, and the one place that sends their requests."""
