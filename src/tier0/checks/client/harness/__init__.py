"""Machinery of the client checks: the client under test, its calls, and what is measured of them."""
