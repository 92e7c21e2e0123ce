"""Machinery of the client checks: the client under test, its calls, and the measurements."""
