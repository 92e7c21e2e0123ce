"""Checks of somebody's client: what it does is read at the other end of the wire, and never from its attributes."""
