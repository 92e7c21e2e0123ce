"""Not the standard library's."""
