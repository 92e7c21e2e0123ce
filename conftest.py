"""Loads the plugin from the checkout (where the package is installed, its entry point is the same plugin), and pytester."""

pytest_plugins = ["tier0.pytest_plugin", "pytester"]
