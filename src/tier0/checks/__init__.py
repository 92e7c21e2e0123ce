"""The checks: small functions that ask a deployment one question each, and know nothing of pytest."""
