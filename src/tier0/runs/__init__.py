"""The order of the steps: what is done when, at once with what, and with what it ends."""
