"""Checks of any client, decided only by the requests that reach a fault server, never by its attributes."""
